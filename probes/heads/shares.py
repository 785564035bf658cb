"""How much of what a head reads at a destination comes from one source: the number every finder averages."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention import ImplicitAttention
from workbench.errors import InputError


class Shares:
    """Shares of one mixer's rows, between 0 and 1, without a matrix.

    ``"mass"`` is ``|A[t,s]| / sum_s |A[t,s]|``; for softmax simply ``A[t,s]``, the attention probability. ``"energy"``
    is ``A[t,s]^2 / sum_s A[t,s]^2``, whose denominator a recurrent form yields in linear time. The two are different
    numbers. A row that reads nothing has share 0 everywhere.

    Where several matrices make up one row of the table (the channels of a Mamba-2 head in mixer scope, a group of
    Mamba-1 channels), their numerators and denominators are summed before dividing, so that a channel counts by what it
    carries.

    Args:
        attention: one mixer's implicit attention.
        rows: heads or channel groups that the table has for this mixer.
        normalise: which share, ``"mass"`` or ``"energy"``.
    """

    def __init__(self, attention: ImplicitAttention, rows: int, normalise: str) -> None:
        if attention.units % rows:
            raise InputError(f"{attention.units} {attention.unit}s cannot be pooled into {rows} rows of equal size.")
        self.attention = attention
        self.rows = rows
        self.normalise = normalise
        if normalise == "energy":
            total = attention.row_energy()
        elif attention.default_normalise == "mass" and attention.unit == "head":
            # A softmax row sums to 1 over its sources and its sink, if it has one. Dividing by the sum over sources
            # alone would turn a head that rests on its sink into one that looks at whatever is left.
            batch, units, time, _ = attention.shape
            total = torch.ones(batch, units, time, device=attention.recorded.device)
        else:
            total = attention.row_mass()
        self._total = self._pool(total)

    def __call__(
        self, query: Int[Tensor, "*each pairs"], key: Int[Tensor, "*each pairs"]
    ) -> Float[Tensor, "batch rows pairs"]:
        """The share of ``A[query[p], key[p]]`` in its row; places as ``[pairs]`` or, a row a sequence, both axes."""
        entry = self.attention.pairs(query, key)
        part = self._pool(entry.square() if self.normalise == "energy" else entry.abs())
        total = self._total[:, :, query] if query.ndim == 1 else self._at_each(query)
        return torch.where(total > 0, part / total, torch.zeros_like(part))

    def rows_at(self, query: Int[Tensor, " queries"]) -> Float[Tensor, "batch rows queries source"]:
        """The shares of all sources in the listed rows."""
        entries = self.attention.rows(query)
        part = entries.square() if self.normalise == "energy" else entries.abs()
        part = part.unflatten(1, (self.rows, -1)).sum(2)
        total = self._total[:, :, query, None]
        return torch.where(total > 0, part / total, torch.zeros_like(part))

    def _at_each(self, query: Int[Tensor, "batch pairs"]) -> Float[Tensor, "batch rows pairs"]:
        """The rows' totals at each sequence's own destinations."""
        return self._total.gather(2, query[:, None].expand(-1, self.rows, -1))

    def _pool(self, x: Float[Tensor, "batch units last"]) -> Float[Tensor, "batch rows last"]:
        batch, units, last = x.shape
        return x.reshape(batch, self.rows, units // self.rows, last).sum(2)
