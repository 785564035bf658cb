"""How a form reads its state: `read` and `diagonal`, reduced here to the plain reading that every room computes.

`read` is a factor on the query. An exclusive reader (RWKV) sees the state as the step before left it, and that is what
an inclusive reader sees there. So its queries move one step earlier and what is read with them one step later:

    A[t, s] = A'[t - 1, s] for s < t        A[t, t] = diagonal[t]        A' with q'[t - 1] = q[t]

The first row reads nothing but an initial state, before any decay. The states are the same in both.
Each function takes the function that computes its own result for plain forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels.forms import Form, Reader, RecurrentForm, Softmax, Toeplitz
from workbench.kernels.grouping import spread
from workbench.kernels.precision import compute_dtype

PerToken = Float[Tensor, "batch time heads"]
Positions = Int[Tensor, "#batch positions"]


def plain(form: Form) -> Form:
    """The form with `read` in its queries and, for an exclusive reader, each query one step earlier."""
    if isinstance(form, Softmax | Toeplitz) or (form.read is None and form.diagonal is None):
        return form
    q = _queries(form)
    if form.diagonal is not None:
        q = torch.cat([q[:, 1:], torch.zeros_like(q[:, :1])], dim=1)
    # Queries that a factor a head has spread need keys that are spread, too.
    k = form.k if form.read is None else spread(form.k, form.heads, dim=2)
    return replace(form, q=q, k=k, read=None, diagonal=None)


def forward(
    form: RecurrentForm, initial_state: Tensor | None, compute: Callable[[Form], tuple[Tensor, Tensor]]
) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
    """Outputs and final state."""
    if isinstance(form, Toeplitz) or form.diagonal is None:
        return compute(plain(form))
    # Wide values, so that the sum is rounded to the dtype of v once, at the end.
    dtype = compute_dtype(form.q, form.v, form.read, form.diagonal, initial_state)
    v = form.v.to(dtype)
    read, state = compute(replace(plain(form), v=v))
    if initial_state is None:
        first = torch.zeros_like(read[:, :1])
    else:
        q = spread(_queries(form)[:, :1], form.heads, dim=2).to(dtype)
        first = (q.transpose(1, 2) @ initial_state.to(dtype)).transpose(1, 2)
    own = form.diagonal.to(dtype)[..., None] * v
    return (torch.cat([first, read[:, :-1]], dim=1) + own).to(form.v.dtype), state


def dense(form: Form, compute: Callable[[Form], Tensor]) -> Float[Tensor, "batch heads time source"]:
    """The whole matrix."""
    matrix, diagonal = compute(plain(form)), _diagonal(form)
    if diagonal is None:
        return matrix
    return _later(matrix, dim=2) + torch.diag_embed(diagonal.transpose(1, 2)).to(matrix.dtype)


def pairs(
    form: Form, query: Positions, key: Positions, compute: Callable[[Form, Tensor, Tensor], Tensor]
) -> Float[Tensor, "batch heads pairs"]:
    """Entries at the listed places."""
    diagonal = _diagonal(form)
    if diagonal is None:
        return compute(plain(form), query, key)
    values = compute(plain(form), (query - 1).clamp(min=0), key)
    return _with_diagonal(values, _at(diagonal, query), query[:, None], key[:, None])


def rows(
    form: Form, query: Positions, compute: Callable[[Form, Tensor], Tensor]
) -> Float[Tensor, "batch heads queries source"]:
    """The listed rows."""
    diagonal = _diagonal(form)
    if diagonal is None:
        return compute(plain(form), query)
    values = compute(plain(form), (query - 1).clamp(min=0))
    every = torch.arange(form.source, device=query.device)
    return _with_diagonal(values, _at(diagonal, query)[..., None], query[:, None, :, None], every)


def columns(
    form: Form, key: Positions, compute: Callable[[Form, Tensor], Tensor]
) -> Float[Tensor, "batch heads time keys"]:
    """The listed columns."""
    values, diagonal = compute(plain(form), key), _diagonal(form)
    if diagonal is None:
        return values
    every = torch.arange(form.time, device=key.device)[:, None]
    return _with_diagonal(_later(values, dim=2), diagonal.transpose(1, 2)[..., None], every, key[:, None, None])


def row_sum(form: Form, compute: Callable[[Any], Tensor]) -> PerToken:
    """``sum_s A[t, s]``."""
    sums, diagonal = compute(plain(form)), _diagonal(form)
    return sums if diagonal is None else _later(sums, dim=1) + diagonal.to(sums.dtype)


def column_sum(form: Form, compute: Callable[[Form], Tensor]) -> Float[Tensor, "batch source heads"]:
    """``sum_t A[t, s]``."""
    sums, diagonal = compute(plain(form)), _diagonal(form)
    return sums if diagonal is None else sums + diagonal.to(sums.dtype)


def row_energy(form: Form, compute: Callable[[Form], Tensor]) -> PerToken:
    """``sum_s A[t, s]^2``."""
    energies, diagonal = compute(plain(form)), _diagonal(form)
    return energies if diagonal is None else _later(energies, dim=1) + diagonal.to(energies.dtype).square()


def energy_distance(form: Form, compute: Callable[[Form], Tensor], energy: Callable[[Form], Tensor]) -> PerToken:
    """``sum_s A[t, s]^2 (t - s)``; `energy` computes `row_energy`."""
    reduced = plain(form)
    if _diagonal(form) is None:
        return compute(reduced)
    # Whatever is read one step later is one token further away; the diagonal has no distance.
    return _later(compute(reduced) + energy(reduced), dim=1)


def _diagonal(form: Form) -> PerToken | None:
    return None if isinstance(form, Softmax | Toeplitz) else form.diagonal


def _at(diagonal: PerToken, query: Positions) -> Float[Tensor, "batch heads queries"]:
    sequence = torch.arange(diagonal.shape[0], device=query.device)[:, None]
    return diagonal[sequence, query].transpose(1, 2)


def _queries(form: Reader) -> Float[Tensor, "batch time heads_or_groups key"]:
    if form.read is None:
        return form.q
    dtype = compute_dtype(form.q, form.read)
    return spread(form.q, form.heads, dim=2).to(dtype) * form.read.to(dtype)[..., None]


def _later(x: Tensor, dim: int) -> Tensor:
    """Everything one step later, the first zero and the last left out."""
    length = x.shape[dim]
    first = torch.zeros_like(x.narrow(dim, 0, min(1, length)))
    return torch.cat([first, x.narrow(dim, 0, max(0, length - 1))], dim)


def _with_diagonal(values: Tensor, own: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """`values` below the diagonal, `own` on it; everything broadcasts to ``[batch, heads, *places]``.

    The row before the first does not exist: what was computed in its place is left out with the rest above.
    """
    return torch.where(key == query, own.to(values.dtype), values.masked_fill(key > query, 0))
