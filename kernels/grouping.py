"""Heads and groups: which group of shared queries or keys a head reads, and forms restricted to some heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.forms import Delta, DiagonalDecay, Form, Softmax, Toeplitz


def spread(x: Tensor, heads: int, dim: int) -> Tensor:
    """Repeat the groups along `dim` so that there is one entry a head; a view where there is one group.

    Raises:
        ValueError: the groups do not divide the heads.
    """
    groups = x.shape[dim]
    if groups == heads:
        return x
    if groups == 0 or heads % groups:
        raise ValueError(f"{heads} heads cannot share {groups} groups: the groups must divide the heads")
    if groups == 1:
        shape = list(x.shape)
        shape[dim] = heads
        return x.expand(shape)
    return x.repeat_interleave(heads // groups, dim=dim)


def _grouped(x: Tensor, heads: int, chosen: Tensor, dim: int = 2) -> Tensor:
    """The groups that the chosen heads read; a single group stays single, so that it is not copied per head."""
    groups = x.shape[dim]
    return x if groups == 1 else x.index_select(dim, chosen // (heads // groups))


def select_heads(form: Form, heads: Sequence[int] | None) -> Form:
    """The form of the chosen heads only, in the order given; the form itself for None.

    Raises:
        ValueError: a head is out of range, or none is given.
    """
    if heads is None:
        return form
    count = form.heads
    if not heads or not all(-count <= head < count for head in heads):
        raise ValueError(f"heads must be between 0 and {count - 1}, and at least one; got {list(heads)}")
    chosen = torch.tensor([head % count for head in heads], device=form.v.device)
    if isinstance(form, Softmax):
        return replace(
            form,
            q=form.q.index_select(2, chosen),
            k=_grouped(form.k, count, chosen),
            v=_grouped(form.v, count, chosen),
            mask=None if form.mask is None else _grouped(form.mask, count, chosen, dim=1),
            bias=None if form.bias is None else _grouped(form.bias, count, chosen, dim=1),
            sinks=None if form.sinks is None else form.sinks[chosen],
        )
    v = form.v.index_select(2, chosen)
    if isinstance(form, Toeplitz):
        return Toeplitz(v, form.kernel[chosen])
    own: dict[str, Any] = {}
    if isinstance(form, DiagonalDecay):
        own["rate"] = None if form.rate is None else form.rate[chosen]
    if isinstance(form, Delta):
        own["probe"] = None if form.probe is None else _grouped(form.probe, count, chosen)
        own["erase"] = None if form.erase is None else _grouped(form.erase, count, chosen)
    return replace(
        form,
        q=_grouped(form.q, count, chosen),
        k=_grouped(form.k, count, chosen),
        v=v,
        log_decay=form.log_decay.index_select(2, chosen),
        write=None if form.write is None else form.write.index_select(2, chosen),
        read=None if form.read is None else form.read.index_select(2, chosen),
        diagonal=None if form.diagonal is None else form.diagonal.index_select(2, chosen),
        **own,
    )
