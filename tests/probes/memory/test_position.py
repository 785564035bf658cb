"""Loss and state norm against position, computed a second time by hand."""

import pytest
import torch

from tests.probes.memory.models import linear_rnn, tiny
from workbench.errors import InputError
from workbench.probes.memory import loss_by_position, state_norms


@pytest.mark.parametrize("mixer", ["attention", "mamba"])
def test_loss_by_position_is_the_mean_of_each_bin(mixer: str) -> None:
    model = tiny(mixer)
    tokens = torch.randint(40, (3, 11))
    found = loss_by_position(model, tokens, width=4, batch_size=2)
    log = model(tokens).log_softmax(-1).detach()
    surprisal = torch.tensor([[-log[b, t - 1, tokens[b, t]] for t in range(1, 11)] for b in range(3)])
    assert found[["start", "stop"]].to_numpy().tolist() == [[0, 4], [4, 8], [8, 11]]
    expected = [surprisal[:, 0:3].mean(), surprisal[:, 3:7].mean(), surprisal[:, 7:10].mean()]
    assert found["loss"].tolist() == pytest.approx([float(value) for value in expected], rel=1e-6)
    assert (found["low"] <= found["loss"]).all() and (found["loss"] <= found["high"]).all()
    assert loss_by_position(model, tokens, width=1)["start"].tolist() == list(range(1, 11))


def test_the_norm_of_a_linear_recurrence_grows_as_its_matrix_says() -> None:
    transition = torch.tensor([[1.2, 0.0], [0.0, 0.5]], dtype=torch.float64)
    model = linear_rnn(transition, torch.eye(2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64))
    found = state_norms(model, torch.zeros(2, 30, dtype=torch.long), [0, 9, 29])
    states = found[found["asked"] == "state"]
    for row in states.to_dict("records"):
        n = row["position"] + 1
        expected = torch.tensor([(1.2**n - 1) / 0.2, (1 - 0.5**n) / 0.5])
        assert row["norm"] == pytest.approx(float(expected.norm()), rel=1e-5)
        assert row["outlier"] == pytest.approx(float(expected.max() / expected.square().mean().sqrt()), rel=1e-5)
    assert states["outlier_head"].tolist()[1:] == [0, 0]


def test_norms_are_those_of_recorded_states_and_streams() -> None:
    model = tiny("gated_delta")
    tokens = torch.randint(40, (2, 8))
    found = state_norms(model, tokens, [3, 7]).set_index(["asked", "layer", "position"])
    for layer in range(2):
        states = model.recurrent_states(tokens, layer, positions=[3, 7]).flatten(2).norm(dim=2).mean(0)
        stream = model.run_with_cache(tokens)[1]["resid_post", layer][:, [3, 7]].norm(dim=2).mean(0)
        for place, position in enumerate((3, 7)):
            assert found.loc[("state", layer, position), "norm"] == pytest.approx(states[place].item())
            assert found.loc[("resid_post", layer, position), "norm"] == pytest.approx(stream[place].item())


def test_a_model_without_states_still_shows_its_stream() -> None:
    assert set(state_norms(tiny("attention"), torch.randint(40, (1, 5)), [4])["asked"]) == {"resid_post"}


def test_bad_positions_are_refused() -> None:
    model = tiny("mamba", layers=1)
    with pytest.raises(InputError, match="from 0 to 4"):
        state_norms(model, torch.randint(40, (1, 5)), [5])
    with pytest.raises(InputError, match="at least 1"):
        loss_by_position(model, torch.randint(40, (1, 5)), width=0)
