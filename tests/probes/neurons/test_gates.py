"""Gate saturation against gates that were set by hand, and every gated family of the zoo."""

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.neurons import gate_saturation, plot_saturation, saturated_units, token_corpus
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

UNITS = 3


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(3, 2000, (6, 20), generator=torch.Generator().manual_seed(0))


def test_gates_set_by_hand_are_saturated_as_they_were_set() -> None:
    config = ZooConfig(mixer="lstm", vocab_size=8, d_model=16, d_mlp=8, n_layers=1, mixer_options={"units": UNITS})
    model = ZooModel(config).eval()
    torch.manual_seed(0)
    cell = model.blocks[0].mixer
    with torch.no_grad():
        for part in (cell.x_proj, cell.h_proj):
            part.weight.zero_()
            part.bias.zero_()
        # i, f, g, o of three units each: sigmoid(-5) is shut, 0 is half open, sigmoid(5) is open.
        cell.x_proj.bias.copy_(torch.tensor([-5.0, 0, 5, 5, 5, 0, 0, 0, 0, 0, -5, -5]))
        # Unit 0's output gate is shut at token 1 alone, and open elsewhere.
        normed = model.blocks[0].norm1(model.embed.weight)
        cell.x_proj.weight[9] = torch.linalg.lstsq(normed, torch.tensor([[5.0], [-5], *[[5.0]] * 6])).solution[:, 0]
    table = gate_saturation(HookedModel(model), token_corpus([[1, 2, 3, 4], [1, 1, 3, 4], [5, 6, 7, 0]]))
    expected = {
        "input": ([1, 0, 0], [0, 0, 1]),
        "forget": ([0, 0, 0], [1, 1, 0]),
        "output": ([0.25, 1, 1], [0.75, 0, 0]),
    }
    assert set(table["gate"]) == set(expected)
    for gate, (left, right) in expected.items():
        rows = table[table["gate"] == gate]
        assert rows["left"].tolist() == pytest.approx(left) and rows["right"].tolist() == pytest.approx(right)
    half = table[(table["gate"] == "input") & (table["unit"] == 1)].iloc[0]
    assert half["mean"] == pytest.approx(0.5)
    shut = table[(table["gate"] == "output") & (table["unit"] == 0)].iloc[0]
    assert shut["left_low"] < shut["left"] < shut["left_high"]
    counted = saturated_units(table).set_index("gate")
    assert counted.loc["output", ["mostly_left", "mostly_right"]].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("member", "gates"),
    [
        ("lstm", {"forget", "input", "output"}),
        ("gru", {"forget", "input"}),
        ("mamba", {"forget"}),  # its step size and its SiLU gate leave 0 to 1
        ("rg_lru", {"forget"}),
        ("retnet", {"forget"}),
    ],
)
def test_every_gated_member_of_the_zoo_shows_its_gates(member: str, gates: set[str], tokens: torch.Tensor) -> None:
    table = gate_saturation(wb.load(f"zoo:{member}", check=False), token_corpus(tokens), [0, 3])
    assert gates <= set(table["gate"])
    assert table["mean"].between(-1e-6, 1 + 1e-6).all()
    assert (table["left"] + table["right"] <= 1 + 1e-6).all()
    assert set(table["layer"]) == {0, 3}


def test_an_lstms_gates_are_those_of_its_equations(tokens: torch.Tensor) -> None:
    model = wb.load("zoo:lstm", check=False)
    table = gate_saturation(model, token_corpus(tokens), 0)
    module = model.adapters[0].module
    _, cache = model.run_with_cache(tokens, names_filter=["blocks.0.mixer.hook_in", "blocks.0.mixer.hook_head_out"])
    x, h = cache["blocks.0.mixer.hook_in"], cache["blocks.0.mixer.hook_head_out"].flatten(2)
    before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1)
    i, f, _, o = torch.sigmoid(module.x_proj(x) + module.h_proj(before)).chunk(4, -1)
    for gate, values in (("input", i), ("forget", f), ("output", o)):
        rows = table[table["gate"] == gate]
        assert rows["left"].tolist() == pytest.approx((values < 0.1).float().mean((0, 1)).tolist(), abs=0.02)
        assert rows["mean"].tolist() == pytest.approx(values.mean((0, 1)).tolist(), abs=1e-4)
    assert len(plot_saturation(table).data) == 4  # three gates, and the diagonal


def test_a_model_without_gates_and_limits_that_are_none_are_refused(tokens: torch.Tensor) -> None:
    with pytest.raises(InputError, match="have no gates"):
        gate_saturation(wb.load("zoo:attention", check=False), token_corpus(tokens))
    with pytest.raises(InputError, match=r"shut below 0\.9 and open above 0\.1"):
        gate_saturation(wb.load("zoo:lstm", check=False), token_corpus(tokens), shut=0.9, open=0.1)
