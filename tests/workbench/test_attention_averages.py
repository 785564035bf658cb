"""The average of a layer's matrices is the plain average of all of them, though never all are held."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench.attention import averages
from workbench.errors import InputError
from workbench.kernels import blocking
from workbench.probes.weights import output_weights

TEXT = "The state of the Union is"
CASES = [("zoo:attention", "core"), ("zoo:mamba2", "core"), ("zoo:mamba", "core"), ("zoo:mamba2", "mixer")]


@pytest.mark.parametrize(("source", "scope"), CASES)
@torch.no_grad()
def test_an_average_is_that_of_all_matrices(source: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = wb.load(source, check=False)
    found = model.implicit_attention(TEXT, 1, scope=scope)  # type: ignore[arg-type]
    every = found.dense()[0]
    weights = output_weights(model, 1)
    rows_out = list(weights) if found.unit == "head" else list(weights.flatten(0, 1)[:, None])
    held = []

    def few(length: int, each: int) -> object:  # room for three matrices at most
        parts = list(blocking.blocks(length, each, 3 * each))
        held.append(max(part.stop - part.start for part in parts))
        return iter(parts)

    monkeypatch.setattr(averages, "blocks", few)
    torch.testing.assert_close(found.average("mean")[0], every.mean(0), rtol=1e-4, atol=1e-4 * float(every.std()))
    torch.testing.assert_close(found.average("size")[0], every.abs().mean(0), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.average("size", heads=[3, 1], rows=[4, 2])[0], every[[3, 1]].abs().mean(0)[[4, 2]])
    assert max(held) <= 3

    # What is written, vector by vector, for the first few units.
    units, row = [0, 2, 5] if found.units > 5 else [0, 2, 3], 5
    pairs = torch.full((row + 1,), row), torch.arange(row + 1)
    norms = [(found.written(*pairs, unit)[0] @ rows_out[unit]).norm(dim=-1) for unit in units]
    got = found.average("written", heads=units, rows=[row], output=torch.stack(rows_out))[0, 0]
    torch.testing.assert_close(got[: row + 1], torch.stack(norms).mean(0), rtol=1e-4, atol=1e-6)
    assert (got[row + 1 :] == 0).all()
    without = [found.written(*pairs, unit)[0].norm(dim=-1) for unit in units]
    bare = found.average("written", heads=units, rows=[row])[0, 0, : row + 1]
    torch.testing.assert_close(bare, torch.stack(without).mean(0), rtol=1e-4, atol=1e-6)


def test_what_is_no_average_is_one_sentence() -> None:
    found = wb.load("zoo:attention", check=False).implicit_attention(TEXT, 1)
    with pytest.raises(InputError, match="over 'median' is none of mean, size, written"):
        found.average("median")
    with pytest.raises(InputError, match="row goes from 0"):
        found.average("mean", rows=[99])
