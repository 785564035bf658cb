"""Implicit attention of one text as pictures: which matrices to show where there are too many, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.cli.output import Output
from workbench.figures import pool_causal
from workbench.figures.colours import is_signed
from workbench.report import MatrixPanel, MatrixView

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.attention import ImplicitAttention
    from workbench.model import HookedModel

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

GALLERY = 32  # up to as many matrices are shown one by one
ENTRIES = 2**28  # more entries than this are not computed for an average
AT_ONCE = 2**24
SAMPLED_ROWS = 32


@dataclass(frozen=True)
class Picture:
    """One matrix: a short name, a sentence, its entries ``[time, source]``."""

    label: str
    caption: str
    weights: Array

    def links(self, count: int) -> list[tuple[int, int, float]]:
        """The `count` largest entries below the diagonal, by size: (reads, is read, weight).

        The first token is left out as a source: in many models it is where a head rests that has nothing to read.
        """
        below = np.tril(self.weights, k=-1)
        below[:, 0] = 0
        order = np.argsort(-np.abs(below), axis=None, kind="stable")[:count]
        places = [divmod(int(at), below.shape[1]) for at in order]
        return [(row, column, float(below[row, column])) for row, column in places if below[row, column] != 0]


def pictures(
    model: HookedModel, attention: ImplicitAttention, layer: int, head: int | None, top: int, output: Output
) -> list[Picture]:
    """What to show of a layer, or of one of its heads: every matrix if they are few, else their mean and the strongest.

    Raises:
        InputError: no such head.
    """
    adapter = model.mixer(layer, attention.mixer)
    width = attention.units // adapter.n_heads
    if head is not None:
        head = model.head_index(layer, head, attention.mixer)
        units = range(head * width, (head + 1) * width)
    else:
        units = range(attention.units)
    whole = adapter.place if head is None else f"{adapter.place}, head {head}"
    if len(units) <= (GALLERY if head is None else 1):
        return [_single(attention, unit, adapter.place) for unit in units]
    averaged = _affordable(attention, units)
    strongest = [int(unit) for unit in averaged[:top]]
    over = f"all {len(units)}" if len(averaged) == len(units) else f"the {len(averaged)} strongest of {len(units)}"
    mean = Picture(
        "mean |A|",
        f"Mean of |A| over {over} {attention.unit}s of {whole}: how much is read, without regard to sign.",
        _mean_size(attention, averaged, output),
    )
    return [mean, *(_single(attention, unit, adapter.place) for unit in strongest)]


def view(pictures: Sequence[Picture], tokens: Sequence[str]) -> MatrixView:
    """Pictures as a block of a page, reduced to what a screen can show."""
    side = 512 if len(pictures) == 1 else 256
    panels, factor = [], 1
    for picture in pictures:
        pixels, factor = pool_causal(picture.weights, side)
        pooled = f" A pixel is {factor} × {factor} tokens and shows the largest entry." if factor > 1 else ""
        panels.append(MatrixPanel(picture.label, picture.caption + pooled, pixels, is_signed(pixels)))
    return MatrixView(tokens, panels, factor)


def _single(attention: ImplicitAttention, unit: int, place: str) -> Picture:
    weights = np.concatenate(
        [_array(attention.dense(heads=[unit], rows=rows)[0, 0]) for rows in _row_blocks(attention, 1)]
    )
    signs = "signed: vermillion adds, blue subtracts" if is_signed(weights) else "never negative"
    name = f"{attention.unit} {unit}"
    return Picture(name, f"{name.capitalize()} of {place}, {attention.scope} scope; {signs}.", weights)


def _affordable(attention: ImplicitAttention, units: range) -> list[int]:
    """Units, strongest first, cut where an average over them would cost too much.

    Strength is the energy of a sample of rows, whole rows being the cheapest thing there is to read.
    """
    import torch

    _, _, time, source = attention.shape
    sample = np.unique(np.linspace(0, time - 1, min(time, SAMPLED_ROWS)).astype(int)).tolist()
    energy = []
    step = max(1, AT_ONCE // (len(sample) * source))
    for start in range(units.start, units.stop, step):
        some = list(range(start, min(start + step, units.stop)))
        energy.append(attention.rows(sample, heads=some)[0].double().square().sum((-1, -2)))
    order = torch.cat(energy).argsort(descending=True, stable=True) + units.start
    return order[: max(1, ENTRIES // (time * source))].tolist()


def _mean_size(attention: ImplicitAttention, units: Sequence[int], output: Output) -> Array:
    """Mean over units of the absolute entries, tile by tile."""
    import torch
    from rich.progress import track

    blocks = list(_row_blocks(attention, len(units)))
    rows = []
    for block in track(blocks, "reading the layer", console=output.errors, transient=True, disable=not output.progress):
        step = max(1, AT_ONCE // ((block.stop - block.start) * attention.shape[3]))
        parts = [
            attention.dense(heads=units[at : at + step], rows=block)[0].abs().sum(0)
            for at in range(0, len(units), step)
        ]
        rows.append(_array(torch.stack(parts).sum(0) / len(units)))
    return np.concatenate(rows)


def _row_blocks(attention: ImplicitAttention, units: int) -> Iterator[slice]:
    _, _, time, source = attention.shape
    height = max(16, AT_ONCE // (source * units))
    for start in range(0, time, height):
        yield slice(start, min(start + height, time))


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().float().cpu().numpy()
    return found
