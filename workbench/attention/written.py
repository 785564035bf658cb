"""What single entries of a matrix put into the mixer's output: the entry times what its source holds."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention.operators import CoreOperator, Operator
from workbench.kernels.blocking import BLOCK_ELEMENTS, blocks


def written(
    operator: Operator, query: Int[Tensor, " pairs"], key: Int[Tensor, " pairs"], unit: int
) -> Float[Tensor, "batch pairs each"]:
    """See `ImplicitAttention.written`."""
    entries = operator.pairs(query, key, [unit])[:, 0, :, None]
    made = entries * _centred(operator, operator.values([unit])[:, :, 0])[:, key]
    gate = _gate(operator, unit)
    return made if gate is None else made * gate[:, query]


@torch.no_grad()
def written_norms(
    operator: Operator, query: Int[Tensor, " rows"], unit: int, output: Float[Tensor, "each model"] | None
) -> Float[Tensor, "batch rows source"]:
    """See `ImplicitAttention.written_norms`."""
    values = _centred(operator, operator.values([unit])[:, :, 0])
    gate, sizes = _gate(operator, unit), operator.dense([unit], query)[:, 0].abs()
    if gate is None or values.shape[-1] == 1:
        one = values if output is None else values @ output.to(values)
        sizes *= one.norm(dim=-1)[:, None]
        return sizes if gate is None else sizes * gate[:, query].abs()
    gram = torch.eye(values.shape[-1]).to(values) if output is None else output.to(values) @ output.to(values).T
    # |(g * v) W|^2 is a quadratic form of g * v, whose matrix is W W'.
    for rows in blocks(len(query), values.numel(), BLOCK_ELEMENTS):
        gated = values[:, None] * gate[:, query[rows], None]
        sizes[:, rows] *= (gated @ gram).mul_(gated).sum(-1).clamp_(min=0).sqrt_()
    return sizes


def _gate(operator: Operator, unit: int) -> Float[Tensor, "batch time each"] | None:
    """What multiplies the unit's output behind its matrix; a whole mixer's matrix holds it already."""
    if not isinstance(operator, CoreOperator) or operator.form.gate is None:
        return None
    return operator.by_unit(operator.form.gate, [unit])[:, :, 0]


def _centred(operator: Operator, values: Float[Tensor, "batch source each"]) -> Float[Tensor, "batch source each"]:
    """Less the mean that the norm behind a core takes off, which is the same before and after the matrix."""
    centred = isinstance(operator, CoreOperator) and operator.form.centred
    return values - values.mean(-1, keepdim=True) if centred else values
