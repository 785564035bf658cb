"""Fidelity of a memory that is a shift register: perfect as far as it reaches, chance beyond."""

import pytest
import torch
from sklearn.linear_model import Ridge

from tests.probes.memory.models import linear_rnn, tiny
from workbench.errors import HookNameError, InputError
from workbench.model import HookedModel
from workbench.probes.memory import memory_fidelity, ridge_classes

SYMBOLS, SLOTS = 5, 3


def shift_register() -> HookedModel:
    """The last three tokens, one-hot, the latest first."""
    size = SYMBOLS * SLOTS
    transition = torch.zeros(size, size, dtype=torch.float64)
    transition[SYMBOLS:, : size - SYMBOLS] = torch.eye(size - SYMBOLS, dtype=torch.float64)
    inputs = torch.eye(size, SYMBOLS, dtype=torch.float64)
    return linear_rnn(transition, inputs, torch.eye(SYMBOLS, dtype=torch.float64))


@pytest.mark.parametrize("what", ["state", "resid_post", "mixer.hook_out", "L0.mixer", "L0H0:15"])
def test_a_shift_register_remembers_three_tokens_and_no_fourth(what: str) -> None:
    found = memory_fidelity(shift_register(), lags=[0, 1, 2, 3], at=what, symbols=SYMBOLS, length=20, readings=8)
    assert found["accuracy"].tolist()[:3] == [1, 1, 1]
    assert found["accuracy"][3] < 0.35 and found["chance"][3] < 0.35


def test_heads_of_two_slots_remember_two_tokens() -> None:
    options = {"lags": [0, 1, 2], "symbols": SYMBOLS, "length": 20, "readings": 8}
    found = memory_fidelity(shift_register(), at=f"L0H0:{2 * SYMBOLS}", **options)
    assert found["accuracy"].tolist()[:2] == [1, 1]
    assert found["accuracy"][2] < 0.35


def test_a_trained_reader_of_the_current_token_is_perfect_in_every_layer() -> None:
    found = memory_fidelity(tiny("mamba"), lags=[0], symbols=8, length=24)
    assert (found["accuracy"] > 0.95).all() and found["layer"].tolist() == [0, 1]


@pytest.mark.parametrize("dim", [6, 90])
def test_ridge_in_closed_form_is_scikit_learns(dim: int) -> None:
    labels = torch.randint(4, (10, 4))
    features = torch.randn(10, 4, dim, dtype=torch.float64) + labels[..., None]
    held_out = torch.randn(7, 4, dim, dtype=torch.float64) + 1
    others = torch.randint(4, (10, 4))
    both = ridge_classes(features, torch.stack([others, labels], -1), held_out, 4, 0.1)
    found = both[..., 1]
    flat = features.flatten(0, 1)
    mean, scale = flat.mean(0), flat.std(0, unbiased=False)
    reference = Ridge(alpha=0.1 * 40).fit(((flat - mean) / scale).numpy(), torch.eye(4)[labels.flatten()].numpy())
    expected = reference.predict(((held_out.flatten(0, 1) - mean) / scale).numpy()).argmax(1)
    assert found.flatten().tolist() == expected.tolist()


def test_a_feature_that_never_changes_is_no_evidence() -> None:
    labels = torch.randint(2, (8, 5))
    useful = (labels * 2.0 - 1).double()[..., None]
    constant = torch.full_like(useful, 3) + 1e-15 * torch.randn_like(useful)
    held_out = torch.cat([useful, constant + 5], -1)
    found = ridge_classes(torch.cat([useful, constant], -1), labels[..., None], held_out, 2, 0.01)
    assert torch.equal(found[..., 0], labels)


def test_a_lag_longer_than_the_text_and_a_model_without_states_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit into 20 tokens"):
        memory_fidelity(tiny("attention"), lags=[15], length=20)
    with pytest.raises(HookNameError, match="No hook point matches 'state'"):
        memory_fidelity(tiny("attention"), at="state")
    with pytest.raises(InputError, match="one hook of each"):
        memory_fidelity(tiny("attention"), at=["resid_pre", "resid_post"])
    with pytest.raises(InputError, match="2 to 40 symbols"):
        memory_fidelity(tiny("attention"), symbols=41)
