"""One head's matrix: whole where it is small, pooled where it is not, and exact in parts at any length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.app.views.attention.choosing import HeadChoice
from workbench.attention import ImplicitAttention
from workbench.errors import InputError
from workbench.figures.colours import is_signed
from workbench.figures.pooling import pool_blocks
from workbench.model import HookedModel
from workbench.probes.weights import output_weights
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
def head_view(model: HookedModel, prompt: str, choice: HeadChoice) -> HeadView:
    """Read one head's matrix, a few rows at a time.

    Raises:
        InputError: no such layer, mixer or head.
    """
    tokens = model.to_tokens(prompt)
    attention = _attention(model, tokens, choice)
    time = attention.shape[2]
    factor = max(1, -(-time // SIDE))
    output = _output(model, choice, attention)
    height = factor * max(1, 2**20 // (time * factor))
    pooled, sums, links = [], np.zeros(time), list[Link]()
    negative = False
    for start in tracked(range(0, time, height), False, "reading rows", -(-time // height)):
        rows = np.arange(start, min(start + height, time))
        values = _entries(attention, choice, output, rows.tolist())
        distance = rows[:, None] - np.arange(time)
        past = distance >= 0
        sums += np.bincount(distance[past], np.nan_to_num(values[past]), minlength=time)
        links = _strongest(links, values, start)
        negative = negative or is_signed(values)
        pooled.append(pool_blocks(values, factor))
    return HeadView(
        tokens=tuple(model.to_str_tokens(tokens[0])),
        ids=tuple(tokens[0].tolist()),
        pixels=np.concatenate(pooled),
        factor=factor,
        signed=negative,
        error=attention.check(),
        profile=sums / np.arange(time, 0, -1),
        links=tuple(links),
    )


@torch.no_grad()
def head_line(
    model: HookedModel, prompt: str, choice: HeadChoice, token: int
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """What a token reads (its row) and who reads it (its column), exact at any length.

    Raises:
        InputError: no such layer, mixer, head or token.
    """
    attention = _attention(model, model.to_tokens(prompt), choice)
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
    model: HookedModel, prompt: str, choice: HeadChoice, row: int, column: int
) -> Float[np.ndarray, "rows columns"]:
    """The exact entries of at most 128 destinations from `row` on and 128 sources from `column` on."""
    attention = _attention(model, model.to_tokens(prompt), choice)
    rows = list(range(row, min(row + WINDOW, attention.shape[2])))
    return _entries(attention, choice, _output(model, choice, attention), rows)[:, column : column + WINDOW]


def _attention(model: HookedModel, tokens: Tensor, choice: HeadChoice) -> ImplicitAttention:
    attention = model.implicit_attention(tokens, choice.layer, scope=choice.scope, mixer=choice.mixer)
    if not 0 <= choice.head < attention.units:
        raise InputError(
            f"Layer {choice.layer} has {attention.unit}s 0 to {attention.units - 1}; {choice.head} is not one of them."
        )
    return attention


def output_rows(model: HookedModel, choice: HeadChoice, attention: ImplicitAttention) -> Tensor:
    """The rows of the output matrix that a head, or a channel, is written through, ``[each, d_model]``.

    Raises:
        InputError: the mixer does not write into the residual stream.
    """
    weights = output_weights(model, choice.layer, choice.mixer)
    if attention.unit == "head":
        return weights[choice.head]
    return weights.flatten(0, 1)[choice.head : choice.head + 1]


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


def _strongest(links: list[Link], values: Float[np.ndarray, "rows source"], start: int) -> list[Link]:
    """The strongest links so far and those of some more rows, the strongest first."""
    rows, columns = np.arange(start, start + len(values))[:, None], np.arange(values.shape[1])
    sizes = np.where(columns < rows, np.abs(np.nan_to_num(values)), 0).ravel()
    best = np.argpartition(-sizes, min(LINKS, sizes.size - 1))[:LINKS]
    width = values.shape[1]
    new = [Link(start + int(at) // width, int(at) % width, float(values.ravel()[at])) for at in best if sizes[at] > 0]
    return sorted([*links, *new], key=lambda link: (-abs(link.value), link.row, link.column))[:LINKS]
