"""Softmax patterns, a block of whole rows at a time: every entry of a row is needed before any of them is known."""

from __future__ import annotations

from workbench.kernels.forms import Softmax
from workbench.kernels.precision import compute_dtype
from workbench.kernels.softmax.pattern import pattern_blocks
from workbench.kernels.streaming.result import Plan, Streamed
from workbench.kernels.streaming.tiles import Tiles

ELEMENTS = 2**21  # of a block's pattern; several temporaries of its size live at once


def patterns(form: Softmax, plan: Plan) -> Streamed:
    """The reductions of the form's pattern."""
    dtype = compute_dtype(form.q, form.k, form.v, form.bias)
    tiles = Tiles(plan, form.batch, form.heads, form.time, form.source, dtype, form.q.device)
    for span, weights in pattern_blocks(form, ELEMENTS):
        tiles.open(span)
        tiles.add(weights, slice(0, weights.shape[-1]))
        tiles.close(None)
    return tiles.result()
