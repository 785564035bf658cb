"""The causal linear map behind an implicit attention, in the two scopes.

A map takes values ``[batch, source, heads, value]`` to outputs ``[batch, time, heads, value]``. Its *units* are the
parts with a matrix of their own: heads for the core (all value channels of a head share one matrix), single channels
for a whole mixer (convolution, activation slope, skip and gate differ from channel to channel).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from workbench import kernels
from workbench.attention.reductions import of_form, of_mixer, of_tiles
from workbench.attention.unrolled import can_unroll
from workbench.forms import Form, MixerForm
from workbench.kernels.blocking import BLOCK_ELEMENTS, blocks
from workbench.kernels.streaming import Reduction, Streamed

Rows = slice | Tensor | None


class Operator(ABC):
    """A causal map with its matrix readable in parts; `time` destinations, `source` sources, `units` matrices."""

    form: MixerForm
    units: int
    time: int
    source: int

    @abstractmethod
    def apply(self, values: Float[Tensor, "batch source groups value"]) -> Float[Tensor, "batch time heads value"]:
        """The linear part applied to values."""

    @property
    @abstractmethod
    def constant(self) -> Float[Tensor, "batch time heads value"] | None:
        """What is added to the linear part, None for nothing."""

    @abstractmethod
    def values(self, units: Sequence[int]) -> Float[Tensor, "batch source units each"]:
        """The recorded values that each of the units reads."""

    @abstractmethod
    def by_unit(
        self, outputs: Shaped[Tensor, "batch time heads value"], units: Sequence[int]
    ) -> Shaped[Tensor, "batch time units each"]:
        """Outputs laid out by unit, restricted to some of them."""

    @abstractmethod
    def dense(self, units: Sequence[int] | None, rows: Rows) -> Float[Tensor, "batch units rows source"]:
        """A tile of the matrix."""

    @abstractmethod
    def pairs(
        self, query: Int[Tensor, "*pairs"], key: Int[Tensor, "*pairs"], units: Sequence[int] | None
    ) -> Float[Tensor, "batch units pairs"]:
        """Entries at listed places."""

    @abstractmethod
    def columns(
        self, key: Int[Tensor, " columns"], units: Sequence[int] | None
    ) -> Float[Tensor, "batch units time columns"]:
        """Whole columns."""

    @abstractmethod
    def row_sum(self) -> Float[Tensor, "batch units time"]:
        """Sum of each row, signs kept."""

    @abstractmethod
    def reduced(
        self,
        reductions: Sequence[Reduction],
        units: Sequence[int] | None,
        top: int = 8,
        bins: Sequence[int] | None = None,
    ) -> Streamed:
        """Reductions of rows and columns, ``[batch, time, units]``; the mass is NaN where only energies are wanted."""

    def tiles(self, budget: int = BLOCK_ELEMENTS) -> Iterator[tuple[slice, slice, Tensor]]:
        """Every entry of the matrix, a tile ``[batch, units, rows, source]`` of at most `budget` elements at a time."""
        per_row = self.batch * self.source
        for rows in blocks(self.time, per_row, budget):
            for units in blocks(self.units, per_row * (rows.stop - rows.start), budget):
                yield units, rows, self.dense(range(units.start, units.stop), rows)

    @property
    @abstractmethod
    def batch(self) -> int:
        """Sequences in the batch."""


class CoreOperator(Operator):
    """The recurrence or the softmax alone: the core form's own matrix."""

    def __init__(self, form: MixerForm) -> None:
        self.form = form
        self.core: Form = form.core
        self.units = self.core.heads
        self.time, self.source = self.core.time, self.core.source

    @property
    def batch(self) -> int:
        return self.core.batch

    def apply(self, values: Float[Tensor, "batch source groups value"]) -> Float[Tensor, "batch time heads value"]:
        return kernels.forward(replace(self.core, v=values))[0]

    @property
    def constant(self) -> Float[Tensor, "batch time heads value"] | None:
        return self.form.carried_z

    def values(self, units: Sequence[int]) -> Float[Tensor, "batch source units each"]:
        shared = self.units // self.core.v.shape[2]
        return self.core.v[:, :, [unit // shared for unit in units]]

    def by_unit(
        self, outputs: Shaped[Tensor, "batch time heads value"], units: Sequence[int]
    ) -> Shaped[Tensor, "batch time units each"]:
        return outputs[:, :, list(units)]

    def dense(self, units: Sequence[int] | None, rows: Rows) -> Float[Tensor, "batch units rows source"]:
        return kernels.dense(self.core, heads=units, rows=rows)

    def pairs(
        self, query: Int[Tensor, "*pairs"], key: Int[Tensor, "*pairs"], units: Sequence[int] | None
    ) -> Float[Tensor, "batch units pairs"]:
        return kernels.pairs(self.core, query, key, heads=units)

    def columns(
        self, key: Int[Tensor, " columns"], units: Sequence[int] | None
    ) -> Float[Tensor, "batch units time columns"]:
        return kernels.columns(self.core, key, heads=units)

    def row_sum(self) -> Float[Tensor, "batch units time"]:
        return kernels.row_sum(self.core).transpose(1, 2)

    def reduced(
        self,
        reductions: Sequence[Reduction],
        units: Sequence[int] | None,
        top: int = 8,
        bins: Sequence[int] | None = None,
    ) -> Streamed:
        return of_form(self.core, reductions, units, top, bins)


class MixerOperator(Operator):
    """The whole mixer: ``(diag(gate) A + diag(skip)) diag(source) Conv``, one matrix a channel.

    Entry by entry, with the tap that multiplies the input `j` steps back called ``lag[j]``:

        M[t, s] = sum_j lag[j] source[s + j] (gate[t] A[t, s + j] + skip[t] [t = s + j])

    Where a norm subtracts the mean over a head's channels, the matrix acts on the inputs less that mean (`A` is the
    same for all channels of a head, so the subtraction may come first), and what the skip makes of the mean is part of
    the constant.
    """

    def __init__(self, form: MixerForm) -> None:
        self.form = form
        self.core = CoreOperator(form)
        _, time, heads, channels = form.outputs.shape
        each = form.source is not None and not torch.equal(form.source, form.source[..., :1].expand_as(form.source))
        if form.centred and (form.conv is not None or each):
            raise ValueError(
                "a norm that subtracts the mean mixes a head's channels, so their values must share one factor: let "
                "the recorded inputs begin after the convolution and the factors that differ between channels"
            )
        self.time, self.source = time, self.core.source
        self.channels = channels
        self.units = heads * channels
        # Channel-major copies [batch, units, time], so that a unit's row is contiguous where tiles are built.
        self._gate = None if form.gate is None else form.gate.flatten(2).transpose(1, 2)
        self._source = None if form.source is None else form.source.flatten(2).transpose(1, 2)
        self._skip = None if form.skip is None else form.skip.flatten(2).transpose(1, 2)
        self._lags = None if form.conv is None else form.conv.flip(-1).flatten(0, 1)

    @property
    def batch(self) -> int:
        return self.core.batch

    def apply(self, values: Float[Tensor, "batch source groups value"]) -> Float[Tensor, "batch time heads value"]:
        """Convolve, scale, run the core, gate, add the skip."""
        if self.form.conv is not None:
            taps = self.form.conv.shape[-1]
            padded = torch.cat([values.new_zeros(values.shape[0], taps - 1, *values.shape[2:]), values], dim=1)
            values = torch.zeros_like(values) + sum(
                padded[:, j : j + values.shape[1]] * self.form.conv[..., j] for j in range(taps)
            )
        return self._from_values(values if self.form.source is None else values * self.form.source)

    def _from_values(
        self, values: Float[Tensor, "batch source groups value"]
    ) -> Float[Tensor, "batch time heads value"]:
        out = self._gated(self.core.apply(values))
        return out if self.form.skip is None else out + self.form.skip * values

    def _gated(self, z: Float[Tensor, "batch time heads value"]) -> Float[Tensor, "batch time heads value"]:
        return z if self.form.gate is None else z * self.form.gate

    def _centred(self, x: Float[Tensor, "batch time heads value"]) -> Float[Tensor, "batch time heads value"]:
        return x - x.mean(-1, keepdim=True) if self.form.centred else x

    @property
    def constant(self) -> Float[Tensor, "batch time heads value"] | None:
        form = self.form
        parts = []
        if form.value_offset is not None:
            offset = self._centred(form.value_offset)
            parts.append(self._gated(self.core.apply(offset)))
            if form.skip is not None:
                parts.append(form.skip * offset)
        if form.centred and form.skip is not None:
            parts.append(form.skip * form.core.v.mean(-1, keepdim=True))
        if form.carried_z is not None:
            parts.append(self._gated(self._centred(form.carried_z)))
        if form.offset is not None:
            parts.append(form.offset)
        return sum(parts[1:], parts[0]) if parts else None

    def values(self, units: Sequence[int]) -> Float[Tensor, "batch source units each"]:
        inputs = self.form.inputs if self.form.inputs is not None else self.form.core.v
        inputs = self._centred(inputs)
        if inputs.shape[2] * inputs.shape[3] != self.units:
            inputs = inputs.repeat_interleave(self.units // (inputs.shape[2] * inputs.shape[3]), dim=2)
        return inputs.flatten(2)[:, :, list(units), None]

    def by_unit(
        self, outputs: Shaped[Tensor, "batch time heads value"], units: Sequence[int]
    ) -> Shaped[Tensor, "batch time units each"]:
        return outputs.flatten(2)[:, :, list(units), None]

    def dense(self, units: Sequence[int] | None, rows: Rows) -> Float[Tensor, "batch units rows source"]:
        chosen = self._chosen(units)
        device = self.form.outputs.device
        every = torch.arange(self.time, device=device)
        query = every if rows is None else every[rows]
        heads, position = self._heads_of(chosen)
        tile = self.core.dense(heads, query)[:, position]
        if self._gate is not None:
            tile = tile * self._gate[:, chosen][:, :, query, None]
        if self._skip is not None:
            diagonal = query[:, None] + (self.source - self.time) == torch.arange(self.source, device=device)
            tile = tile + self._skip[:, chosen][:, :, query, None] * diagonal
        if self._source is not None:
            tile = tile * self._source[:, chosen, None]
        return self._convolved(tile, chosen)

    def _convolved(self, tile: Float[Tensor, "batch units rows source"], chosen: Tensor) -> Tensor:
        """Multiply by the convolution from the right: entry s gathers the entries s, s + 1, ... one tap later each."""
        if self._lags is None:
            return tile
        lags = self._lags[chosen, :, None, None]
        out = tile * lags[:, 0]
        for j in range(1, min(lags.shape[1], tile.shape[-1])):
            out[..., :-j] += tile[..., j:] * lags[:, j]
        return out

    def pairs(
        self, query: Int[Tensor, "*pairs"], key: Int[Tensor, "*pairs"], units: Sequence[int] | None
    ) -> Float[Tensor, "batch units pairs"]:
        chosen = self._chosen(units)
        heads, position = self._heads_of(chosen)
        total = self.form.outputs.new_zeros(self.batch, len(chosen), key.shape[-1])
        beside: Tensor | None = None  # what the skip adds, which no gate multiplies
        lags = 1 if self._lags is None else self._lags.shape[1]
        core = self._core_entries(query, key, heads, lags)
        last = query + (self.source - self.time)
        for j in range(lags):
            late = key + j
            inside = _spread(late <= last)
            own = _spread(late == last)
            late = late.clamp(max=self.source - 1)
            # Masked where it is small: an entry a head, of which there are as many copies as a head has channels.
            entry = (core(late, j) * inside)[:, position]
            weight = None if self._source is None else _gather(self._source[:, chosen], late)
            if self._lags is not None:
                tap = self._lags[chosen, j, None]
                weight = tap if weight is None else weight * tap
            total = total + (entry if weight is None else entry * weight)
            if self._skip is not None and bool(own.any()):
                passed = own.to(total.dtype) if weight is None else weight * own
                beside = passed if beside is None else beside + passed
        if self._gate is not None:
            total = total * _gather(self._gate[:, chosen], query)
        if beside is not None and self._skip is not None:
            total = total + beside * _gather(self._skip[:, chosen], query)
        return total

    def _core_entries(
        self, query: Int[Tensor, "*pairs"], key: Int[Tensor, "*pairs"], heads: Sequence[int] | None, lags: int
    ) -> Callable[[Tensor, int], Float[Tensor, "batch heads pairs"]]:
        """Entries of the core at the places that each lag reaches, given the sources there and the lag.

        Places that are neighbours reach the same entries, up to as many times as there are lags: each is computed once.
        """
        if lags == 1 or query.ndim > 1:
            return lambda late, j: self.core.pairs(query, late, heads)
        late = (key + torch.arange(lags, device=key.device)[:, None]).clamp(max=self.source - 1)
        places, which = torch.unique(query * self.source + late, return_inverse=True)
        entries = self.core.pairs(places // self.source, places % self.source, heads)
        return lambda late, j: entries[..., which[j]]

    def columns(
        self, key: Int[Tensor, " columns"], units: Sequence[int] | None
    ) -> Float[Tensor, "batch units time columns"]:
        chosen = self._chosen(units)
        heads, position = self._heads_of(chosen)
        query = torch.arange(self.source - self.time, self.source, device=key.device)
        total = self.form.outputs.new_zeros(self.batch, len(chosen), self.time, key.shape[-1])
        for j in range(1 if self._lags is None else self._lags.shape[1]):
            late = (key + j).clamp(max=self.source - 1)
            entry = self.core.columns(late, heads)[:, position]
            if self._gate is not None:
                entry = entry * self._gate[:, chosen, :, None]
            if self._skip is not None:
                entry = entry + self._skip[:, chosen, :, None] * (query[:, None] == late)
            if self._source is not None:
                entry = entry * self._source[:, chosen][:, :, None, late]
            if self._lags is not None:
                entry = entry * self._lags[chosen, j, None, None]
            total = total + entry * (key + j < self.source)
        return total

    def row_sum(self) -> Float[Tensor, "batch units time"]:
        return self.apply(torch.ones_like(self.form.core.v)).flatten(2).transpose(1, 2)

    def reduced(
        self,
        reductions: Sequence[Reduction],
        units: Sequence[int] | None,
        top: int = 8,
        bins: Sequence[int] | None = None,
    ) -> Streamed:
        """Around a recurrent core never a tile; else (a softmax, a filter) every tile once."""
        if can_unroll(self.form):
            return of_mixer(self.form, reductions, units, top, bins)
        shape = (self.batch, self.units, self.time, self.source)
        return of_tiles(self.dense, shape, reductions, units, top, bins)

    def _chosen(self, units: Sequence[int] | None) -> Tensor:
        every = torch.arange(self.units, device=self.form.outputs.device)
        return every if units is None else every[list(units)]

    def _heads_of(self, chosen: Tensor) -> tuple[list[int], Tensor]:
        """The heads that the chosen channels belong to, each once, and where each channel finds its head."""
        heads, position = torch.unique(chosen // self.channels, return_inverse=True)
        return heads.tolist(), position


def _gather(x: Float[Tensor, "batch units time"], at: Int[Tensor, "*pairs"]) -> Float[Tensor, "batch units pairs"]:
    if at.ndim == 1:
        return x[:, :, at]
    return x.gather(2, at[:, None].expand(-1, x.shape[1], -1))


def _spread(mask: Tensor) -> Tensor:
    """A mask over pairs, ``[pairs]`` or ``[batch, pairs]``, with an axis for the units."""
    return mask if mask.ndim == 1 else mask[:, None]
