"""One head's matrix: whole where it is small, pooled where it is not, and exact in parts at any length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.app.views.attention.choosing import HeadChoice
from workbench.app.views.attention.reading import Reading, checked_head, output_rows
from workbench.attention import ImplicitAttention
from workbench.figures.colours import is_signed
from workbench.figures.pooling import pool_blocks
from workbench.model import HookedModel
from workbench.progress import tracked

SIDE = 512
"""Pixels a side at most; a longer text is pooled."""

WINDOW = 128
"""Tokens a side of the exact window into a pooled matrix."""

LINKS = 20
"""Strongest links that are listed."""


@dataclass(frozen=True)
class Link:
    """A destination, an earlier source, and the entry between them."""

    row: int
    column: int
    value: float


@dataclass(frozen=True)
class HeadView:
    """One head on one text.

    Attributes:
        tokens, ids: of every token.
        pixels: the matrix, rows read from columns; pooled if `factor` is above 1. The future is 0.
        factor: tokens a pixel side stands for; a pixel has its largest entry by size, with the sign.
        signed: whether entries may be negative.
        error: relative error of the matrix times the values against the layer's own output.
        profile: the mean entry at each distance.
        links: the strongest entries between different tokens.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    pixels: Float[np.ndarray, "rows columns"]
    factor: int
    signed: bool
    error: float
    profile: Float[np.ndarray, " time"]
    links: tuple[Link, ...]


@torch.no_grad()
def head_view(model: HookedModel, reading: Reading, choice: HeadChoice) -> HeadView:
    """Read one head's matrix, a few rows at a time.

    Raises:
        InputError: no such head.
    """
    attention = checked_head(reading, choice)
    output = _output(model, choice, attention)
    time = attention.shape[2]
    factor = max(1, -(-time // SIDE))
    height = factor * max(1, 2**20 // (time * factor))
    pooled, sums, links = [], np.zeros(time), list[Link]()
    negative = False
    for start in tracked(range(0, time, height), False, "reading rows", -(-time // height)):
        rows = np.arange(start, min(start + height, time))
        values = _entries(attention, choice, output, rows.tolist())
        known = np.nan_to_num(values)
        for row, entries in zip(rows, known, strict=True):
            sums[: row + 1] += entries[row::-1]
        links = _strongest(links, known, start)
        negative = negative or is_signed(values)
        pooled.append(pool_blocks(values, factor))
    return HeadView(
        tokens=reading.tokens,
        ids=reading.ids,
        pixels=np.concatenate(pooled),
        factor=factor,
        signed=negative,
        error=reading.error,
        profile=sums / np.arange(time, 0, -1),
        links=tuple(links),
    )


@torch.no_grad()
def head_line(
    model: HookedModel, reading: Reading, choice: HeadChoice, token: int
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """What a token reads (its row) and who reads it (its column), exact at any length.

    Raises:
        InputError: no such head or token.
    """
    attention = checked_head(reading, choice)
    output = _output(model, choice, attention)
    row = _entries(attention, choice, output, [token])[0]
    if choice.measure == "written":
        every = torch.arange(attention.shape[2])
        vectors = attention.written(every, torch.full_like(every, token), choice.head)[0]
        column = (vectors if output is None else vectors @ output.to(vectors)).norm(dim=-1)
    else:
        column = attention.columns(token, heads=choice.head)[0, 0, :, 0]
        if choice.measure == "share":
            column = column.abs() / attention.row_mass(heads=choice.head)[0, 0]
    return row, _numbers(column)


@torch.no_grad()
def head_window(
    model: HookedModel, reading: Reading, choice: HeadChoice, row: int, column: int
) -> Float[np.ndarray, "rows columns"]:
    """The exact entries of at most 128 destinations from `row` on and 128 sources from `column` on."""
    attention = checked_head(reading, choice)
    rows = list(range(row, min(row + WINDOW, attention.shape[2])))
    return _entries(attention, choice, _output(model, choice, attention), rows)[:, column : column + WINDOW]


def _output(model: HookedModel, choice: HeadChoice, attention: ImplicitAttention) -> Tensor | None:
    return output_rows(model, choice, attention) if choice.measure == "written" else None


def _entries(
    attention: ImplicitAttention, choice: HeadChoice, output: Tensor | None, rows: list[int]
) -> Float[np.ndarray, "rows source"]:
    if choice.measure == "written":
        return _numbers(attention.written_norms(choice.head, rows, output)[0])
    values = attention.dense(heads=choice.head, rows=rows)[0, 0]
    if choice.measure == "share":
        values = values.abs() / values.abs().sum(-1, keepdim=True)
    return _numbers(values)


def _numbers(values: Tensor) -> Float[np.ndarray, "*shape"]:
    return np.asarray(values.detach().float().cpu())


def _strongest(links: list[Link], known: Float[np.ndarray, "rows source"], start: int) -> list[Link]:
    """The strongest links so far and those of some more rows, the strongest first."""
    sizes = np.tril(np.abs(known), start - 1).ravel()
    # Only what beats the last of those there are; of the first rows, which have nothing to beat, the largest.
    at = np.flatnonzero(sizes > (abs(links[-1].value) if len(links) == LINKS else 0.0))
    if len(at) > LINKS:
        at = at[np.argpartition(-sizes[at], LINKS - 1)[:LINKS]]
    width = known.shape[1]
    new = [Link(start + int(one) // width, int(one) % width, float(known.ravel()[one])) for one in at]
    return sorted([*links, *new], key=lambda link: (-abs(link.value), link.row, link.column))[:LINKS]
