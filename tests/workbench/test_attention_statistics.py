"""Statistics of a whole model against dense matrices of its sequences one by one, padding left out."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from tests.families.case import PADS, all_in_float64, batch_of_tokens, build, hooked
from tests.families.cases import every_case
from tests.kernels.random_forms import relative_error
from workbench.attention import statistics
from workbench.errors import InputError
from workbench.kernels.streaming.result import REDUCTIONS

ROWS = ["mass", "energy", "entropy", "mean_distance_by_mass", "mean_distance_by_energy"]
# Two mixers a block, a Transformer beside Mamba, groups and a convolution, an exclusive reader, a filter, a delta rule.
CASES = {name: every_case()[name] for name in ("falcon_h1", "jamba", "mamba2", "zoo rwkv6", "lfm2", "zoo gated_delta")}


def of_rows(matrix: Tensor) -> dict[str, Tensor]:
    """From ``[units, time, source]`` to ``[time, units]``; 0 for a row that reads nothing."""
    size = matrix.abs()
    mass, energy = size.sum(-1), size.square().sum(-1)
    distance = torch.arange(size.shape[-2])[:, None] - torch.arange(size.shape[-1])
    part = size / mass.where(mass > 0, 1)[..., None]
    squared = size.square() / energy.where(energy > 0, 1)[..., None]
    found = {
        "mass": mass,
        "energy": energy,
        "entropy": torch.special.entr(part).sum(-1),
        "mean_distance_by_mass": (part * distance).sum(-1),
        "mean_distance_by_energy": (squared * distance).sum(-1),
        "column_mass": size.sum(-2),
        "column_energy": size.square().sum(-2),
    }
    return {name: value.T for name, value in found.items()}


@pytest.mark.parametrize("scope", ["core", "mixer"])
@pytest.mark.parametrize("name", CASES)
def test_every_number_is_that_of_the_sequence_alone(name: str, scope: str) -> None:
    case = CASES[name]
    tokens, mask = batch_of_tokens()
    pads = PADS if case.padding else 0
    mask = mask if case.padding else None
    with hooked(build(case, torch.float64)) as model, all_in_float64(torch.float64), torch.no_grad():
        found = model.attention_statistics(tokens, REDUCTIONS, scope=scope, top=3, attention_mask=mask)
        places = [(mixer.layer, mixer.mixer) for mixer in found.mixers]
        assert places == [(adapter.layer, adapter.index) for adapter in model.mixers]
        for index, (layer, mixer) in enumerate(places):
            histogram = 0.0
            for row, first in enumerate([0, pads]):
                alone = model.implicit_attention(tokens[row : row + 1, first:], layer, scope, mixer=mixer)
                matrix = alone.dense()[0]
                for reduction, want in of_rows(matrix).items():
                    got = found[reduction][index][row]
                    assert relative_error(got[first:], want) < 1e-8, (reduction, layer)
                    assert got[:first].isnan().all()
                values, sources = found["top_values"][index][row, first:], found["top_sources"][index][row, first:]
                expected = matrix.abs().topk(3).values.transpose(0, 1)
                assert relative_error(values.abs(), expected) < 1e-8
                there = matrix.transpose(0, 1).gather(-1, (sources - first).clamp(min=0))
                assert relative_error(there.masked_fill(sources < 0, 0), values) < 1e-8
                near = torch.ones_like(matrix[0]).tril().triu(-1) - torch.eye(matrix.shape[-1])
                histogram = histogram + (matrix.abs() * near).sum((-1, -2))
            assert relative_error(found.mixers[index].histogram[:, 1], histogram) < 1e-8  # distances 1 to 1
    assert found.counted.sum() == tokens.numel() - pads


def test_averages_tables_json_and_the_picture_say_the_same() -> None:
    case = CASES["falcon_h1"]
    tokens, mask = batch_of_tokens()
    with hooked(build(case, torch.float64)) as model:
        asked = [*ROWS, "top", "histogram"]
        found = model.attention_statistics(tokens, asked, attention_mask=mask, bins=[0, 1, 30])
        only = model.attention_statistics(tokens, asked, attention_mask=mask, bins=[0, 1, 30], per_token=False)
    table = found.to_pandas()
    assert len(table) == sum(mixer.n_heads for mixer in model.mixers)
    at = (table["layer"] == 1) & (table["mixer"] == 1)
    place = [mixer.place for mixer in found.mixers].index("1.mixer1")
    for name in ROWS:
        value = found[name][place]
        reads = found["mass"][place] > 0
        expected = torch.stack([value[..., u][reads[..., u] & found.counted].mean() for u in range(value.shape[-1])])
        torch.testing.assert_close(found.average(name)[place], expected)
        torch.testing.assert_close(torch.tensor(table[at][name].to_numpy()), expected)
        assert torch.equal(only.average(name)[place], found.average(name)[place])
    share = found["top_values"][place].abs().sum(-1) / found["mass"][place]
    torch.testing.assert_close(found.average("top_share")[place], share[found.counted].mean(0))
    dumped = json.loads(json.dumps(found.to_dict()))
    assert dumped["mixers"][place]["averages"]["entropy"] == found.average("entropy")[place].tolist()
    assert (dumped["edges"], dumped["rows"]) == ([0, 1, 30], int(found.counted.sum()))
    total = torch.tensor(dumped["mixers"][place]["histogram"], dtype=torch.float64).sum(-1)
    torch.testing.assert_close(total, found["mass"][place].nansum((0, 1)))
    figure = found.plot("entropy")
    shown = torch.tensor(figure.data[0].z[place])
    heads = len(found.average("entropy")[place])
    torch.testing.assert_close(shown[:heads].double(), found.average("entropy")[place], atol=1e-6, rtol=1e-6)
    assert "1.mixer1" in figure.layout.yaxis.ticktext
    with pytest.raises(InputError, match="only averages were kept"):
        only["mass"]


def test_energies_alone_are_read_in_linear_time_and_no_mixer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    alive: list[weakref.ref[object]] = []
    reduced = statistics._reduced

    def watched(attention, *rest):  # type: ignore[no-untyped-def]
        gc.collect()
        assert not [form for form in (ref() for ref in alive) if form is not None]
        alive.append(weakref.ref(attention.form))
        return reduced(attention, *rest)

    monkeypatch.setattr(statistics, "_reduced", watched)
    monkeypatch.setattr("workbench.kernels.stream", None)
    tokens, _ = batch_of_tokens()
    with hooked(build(CASES["mamba2"])) as model:
        found = model.attention_statistics(tokens, ["mean_distance_by_energy"], scope="mixer")
    assert len(alive) == len(found.mixers) == 2
    assert list(found.mixers[0].averages) == ["energy", "mean_distance_by_energy"]
    with pytest.raises(InputError, match="There is no 'mass' here; asked for were mean_distance_by_energy"):
        found["mass"]
    with pytest.raises(InputError, match="no average of 'mass' here; there is energy, mean_distance_by_energy"):
        found.average("mass")


def test_layers_and_mixers_can_be_chosen_and_bad_requests_get_one_sentence() -> None:
    tokens, mask = batch_of_tokens()
    with hooked(build(CASES["falcon_h1"])) as model:
        found = model.attention_statistics(tokens, ["mass"], layers=[1], mixer=1)
        assert [(mixer.layer, mixer.mixer) for mixer in found.mixers] == [(1, 1)]
        for asked, message in (
            ({"reductions": ["masses"]}, r"^reductions: choose from mass.*got 'masses'\.$"),
            ({"top": 0, "reductions": ["top"]}, "^top is the number"),
            ({"layers": [9]}, "9"),
            ({"attention_mask": mask.flip(1)}, "^Statistics need padding on the left"),
        ):
            with pytest.raises(InputError, match=message):
                model.attention_statistics(tokens, **asked)
