"""A layer as a whole: all its matrices as one, and the few that come first beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from workbench.app.views.attention.choosing import HeadChoice
from workbench.app.views.attention.head import SIDE
from workbench.app.views.attention.reading import Reading
from workbench.app.views.scripts import script
from workbench.attention.averages import Average
from workbench.figures.colours import is_signed
from workbench.figures.pooling import pool_blocks
from workbench.model import HookedModel
from workbench.probes.weights import output_weights
from workbench.progress import tracked

REDUCTIONS: dict[Average, str] = {
    "size": "mean of |A|",
    "written": "mean norm written",
    "mean": "mean, signs kept",
}
"""How matrices become one, and what an entry is called then."""

THUMBNAILS = 12
"""Matrices beside each other."""

SMALL = 64
"""Pixels a side of a thumbnail at most."""

AT_ONCE = 2**20
"""Entries of some rows that are pooled together."""

PER_SECOND = 10e6
"""Entries that one core reads in a second, roughly: what an estimate is made of."""


@dataclass(frozen=True)
class LayerView:
    """A layer's matrices as one.

    Attributes:
        pixels: the average, rows read from columns; pooled if `factor` is above 1. The future is 0.
        factor: tokens a pixel side stands for; a pixel has its largest entry by size, with the sign.
        signed: whether entries may be negative.
        units: how many matrices were averaged.
    """

    pixels: Float[np.ndarray, "rows columns"]
    factor: int
    signed: bool
    units: int


@dataclass(frozen=True)
class Thumbnails:
    """Some matrices, small.

    Attributes:
        heads: their numbers.
        pixels: of each; pooled if `factor` is above 1, as in `LayerView`.
        signed: whether entries may be negative.
    """

    heads: tuple[int, ...]
    pixels: Float[np.ndarray, "heads rows columns"]
    factor: int
    signed: bool


def seconds_of(time: int, units: int) -> float:
    """About how long the average of so many matrices and the thumbnails take."""
    return time * time / 2 * (units + THUMBNAILS) / PER_SECOND


@torch.no_grad()
def layer_view(model: HookedModel, reading: Reading, choice: HeadChoice, over: Average) -> LayerView:
    """The average of all matrices of a mixer, a few rows at a time; the head of the choice does not matter.

    Raises:
        InputError: norms are asked for and the mixer does not write into the residual stream.
    """
    attention = reading.attention
    output = None
    if over == "written":
        output = output_weights(model, choice.layer, choice.mixer)
        output = output if attention.unit == "head" else output.flatten(0, 1)[:, None]
    time = attention.shape[2]
    factor = max(1, -(-time // SIDE))
    height = factor * max(1, AT_ONCE // (time * factor))
    pooled = []
    for start in tracked(range(0, time, height), False, "averaging the layer", -(-time // height)):
        rows = list(range(start, min(start + height, time)))
        pooled.append(pool_blocks(attention.average(over, rows=rows, output=output)[0].float().cpu().numpy(), factor))
    pixels = np.concatenate(pooled)
    return LayerView(pixels, factor, is_signed(pixels), attention.units)


@torch.no_grad()
def thumbnails(reading: Reading, heads: Sequence[int]) -> Thumbnails:
    """The weights of some heads, small, one matrix at a time."""
    attention = reading.attention
    time = attention.shape[2]
    factor = max(1, -(-time // SMALL))
    height = factor * max(1, AT_ONCE // (time * factor))
    found = []
    for head in tracked(list(heads), False, "reading channels"):
        parts = [
            pool_blocks(
                attention.dense(heads=head, rows=slice(start, start + height))[0, 0].float().cpu().numpy(), factor
            )
            for start in range(0, time, height)
        ]
        found.append(np.concatenate(parts))
    pixels = np.stack(found)
    return Thumbnails(tuple(heads), pixels, factor, is_signed(pixels))


def layer_code(source: str, prompt: str, choice: HeadChoice, over: Average, heads: Sequence[int]) -> str:
    """Python for `layer_view` (`average`, ``[time, time]``) and `thumbnails` (`matrices`, ``[heads, time, time]``)."""
    mixer = f", mixer={choice.mixer}" if choice.mixer else ""
    where = f"{choice.layer}{f', {choice.mixer}' if choice.mixer else ''}"
    output = f", output=output_weights(model, {where})" if over == "written" else ""
    body = (
        f"attention = model.implicit_attention(tokens, layer={choice.layer}{mixer})\n"
        f'average = attention.average("{over}"{output})[0].detach()  # of all matrices of the layer\n'
        f"matrices = attention.dense(heads={list(heads)})[0].detach()  # those that come first"
    )
    return script(
        source, prompt, body, "from workbench.probes.weights import output_weights" if over == "written" else ""
    )
