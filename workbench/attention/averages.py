"""The matrices of a layer as one: their mean, the mean of their sizes, or of the norms of what they write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention.operators import CoreOperator, Operator
from workbench.attention.written import written_norms
from workbench.kernels.blocking import blocks

Average: TypeAlias = Literal["mean", "size", "written"]

AVERAGES: tuple[Average, ...] = ("mean", "size", "written")


@torch.no_grad()
def averaged(
    operator: Operator,
    over: Average,
    units: Sequence[int],
    query: Int[Tensor, " rows"],
    output: Sequence[Float[Tensor, "each model"]] | None,
) -> Float[Tensor, "batch rows source"]:
    """See `ImplicitAttention.average`. As many matrices are held at once as a block of elements has room for."""
    total = torch.zeros(())
    for some in blocks(len(units), operator.batch * len(query) * operator.source):
        tile = _tile(operator, over, units[some], query, None if output is None else output[some])
        total = total.to(tile) + tile.sum(1)
    return total / len(units)


def _tile(
    operator: Operator,
    over: Average,
    units: Sequence[int],
    query: Int[Tensor, " rows"],
    output: Sequence[Float[Tensor, "each model"]] | None,
) -> Float[Tensor, "batch some rows source"]:
    if over != "written":
        tile = operator.dense(units, query)
        return tile if over == "mean" else tile.abs()
    values = operator.values(units)
    if values.shape[-1] > 1 or operator.form.centred:
        rows = [None] * len(units) if output is None else output
        parts = [written_norms(operator, query, unit, row) for unit, row in zip(units, rows, strict=True)]
        return torch.stack(parts, dim=1)
    # A channel writes one number along one row of the output matrix, so its norms need no vectors.
    each = values[..., 0].abs()
    if output is not None:
        each = each * torch.stack([row.norm() for row in output]).to(each)
    tile = operator.dense(units, query).abs() * each.transpose(1, 2)[:, :, None]
    if isinstance(operator, CoreOperator) and operator.form.gate is not None:
        tile = tile * operator.by_unit(operator.form.gate[:, query], units)[..., 0].abs().transpose(1, 2)[..., None]
    return tile
