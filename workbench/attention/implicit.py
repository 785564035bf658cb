"""`ImplicitAttention`: what one layer's tokens read from which earlier tokens, for every family alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention.check import relative_error
from workbench.attention.operators import CoreOperator, MixerOperator, Operator
from workbench.errors import InputError
from workbench.forms import MixerForm, Softmax

Scope: TypeAlias = Literal["core", "mixer"]
Normalise: TypeAlias = Literal["mass", "energy"]
Positions: TypeAlias = Tensor | Sequence[int] | int
Heads: TypeAlias = Sequence[int] | int | None


class ImplicitAttention:
    """One layer's causal matrix ``A[t, s]`` from source `s` to destination `t`, read without building it.

    ``scope="core"`` is the recurrence (or softmax) alone, one matrix a head. ``scope="mixer"`` is the whole mixer from
    the input projection's output to the output projection's input, one matrix a channel, with convolution, activation
    slope, skip, gate and norm scale at their recorded values; what no token carries (the convolution's bias) is
    `constant`. Both are exact: `check` says how exact.

    Nothing is computed before it is asked for. Memory is linear in time for everything except the tile that `dense` is
    asked for; `row_energy` and `mean_distance` are linear in time too, except where tiles are streamed: in mixer scope
    (`row_energy` of a diagonal decay with one channel a head is linear there too), and for the absolute mass of
    recurrent forms.

    Attributes:
        form: the recorded mixer.
        scope: ``"core"`` or ``"mixer"``.
        layer: the layer it was recorded in, for messages; may be None.
        mixer: which of that layer's mixers it is, 0 for the first.
        unit: ``"head"`` or ``"channel"``: what carries a matrix of its own.
    """

    def __init__(self, form: MixerForm, scope: Scope | str = "core", layer: int | None = None, mixer: int = 0) -> None:
        if scope not in ("core", "mixer"):
            raise InputError(f"scope {scope!r} is neither 'core' nor 'mixer'.")
        self.form = form
        self.scope = scope
        self.layer = layer
        self.mixer = mixer
        bare = all(
            part is None for part in (form.conv, form.source, form.value_offset, form.gate, form.skip, form.offset)
        )
        self.unit: Literal["head", "channel"] = "head" if scope == "core" or bare else "channel"
        self._operator: Operator = CoreOperator(form) if self.unit == "head" else MixerOperator(form)

    @classmethod
    def from_form(
        cls, form: MixerForm, scope: Scope | str = "core", layer: int | None = None, mixer: int = 0
    ) -> ImplicitAttention:
        """The implicit attention of a recorded mixer. Raises InputError for an unknown scope."""
        return cls(form, scope, layer, mixer)

    def __repr__(self) -> str:
        batch, units, time, source = self.shape
        where = "" if self.layer is None else f"layer={self.layer}, "
        where += f"mixer={self.mixer}, " if self.mixer else ""
        return (
            f"ImplicitAttention({where}scope={self.scope!r}, {type(self.form.core).__name__}, batch={batch}, "
            f"{units} {self.unit}{'s' if units != 1 else ''}, time={time}, source={source})"
        )

    @property
    def units(self) -> int:
        """How many matrices there are: heads, or in mixer scope channels (``h * V + c`` is channel `c` of head `h`)."""
        return self._operator.units

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, units, time, source): the shape that the whole matrix would have."""
        return self._operator.batch, self.units, self._operator.time, self._operator.source

    def dense(self, heads: Heads = None, rows: slice | Positions | None = None) -> Float[Tensor, "b u r s"]:
        """A tile of the matrix, ``[batch, units, rows, source]``; everything where nothing is restricted.

        Args:
            heads: a unit number or several (see `units`), None for all.
            rows: destinations, as a slice or a list of positions; None for all.
        """
        chosen = rows if isinstance(rows, slice) or rows is None else self._positions(rows, "row", self.shape[2])
        return self._operator.dense(self._units(heads), chosen)

    def pairs(self, query: Positions, key: Positions, heads: Heads = None) -> Float[Tensor, "b u p"]:
        """``A[query[p], key[p]]``, ``[batch, units, pairs]``; 0 where the key comes after the query.

        `query` and `key` are ``[pairs]``, or ``[batch, pairs]`` for other places in each sequence.
        """
        destinations = self._positions(query, "query", self.shape[2])
        sources = self._positions(key, "key", self.shape[3])
        if destinations.shape[-1] != sources.shape[-1]:
            raise InputError(f"{destinations.shape[-1]} queries and {sources.shape[-1]} keys do not pair up.")
        if destinations.ndim != sources.ndim:
            destinations, sources = torch.broadcast_tensors(destinations, sources)
        return self._operator.pairs(destinations, sources, self._units(heads))

    def rows(self, query: Positions, heads: Heads = None) -> Float[Tensor, "b u r s"]:
        """Whole rows: what the listed destinations read, ``[batch, units, queries, source]``."""
        return self._operator.dense(self._units(heads), self._listed(query, "query", self.shape[2]))

    def columns(self, key: Positions, heads: Heads = None) -> Float[Tensor, "b u t c"]:
        """Whole columns: who reads the listed sources, ``[batch, units, time, keys]``."""
        return self._operator.columns(self._listed(key, "key", self.shape[3]), self._units(heads))

    def row_sum(self) -> Float[Tensor, "b u t"]:
        """``sum_s A[t, s]``, signs kept, ``[batch, units, time]``."""
        return self._operator.row_sum()

    def row_energy(self) -> Float[Tensor, "b u t"]:
        """``sum_s A[t, s]^2``, ``[batch, units, time]``."""
        return self._operator.row_energy()

    def row_mass(self) -> Float[Tensor, "b u t"]:
        """``sum_s |A[t, s]|``, ``[batch, units, time]``."""
        return self._operator.row_moments(1)[0]

    def mean_distance(self, normalise: Normalise | str | None = None) -> Float[Tensor, "b u t"]:
        """How many tokens back each destination reads on average, ``[batch, units, time]``, in tokens.

        The average weighs sources by ``|A|`` (``"mass"``) or by ``A^2`` (``"energy"``), two different numbers.
        None means mass for softmax, where it is the attention probability, and energy for recurrent forms. A row that
        reads nothing (a pad) is NaN.
        """
        if normalise is None:
            normalise = self.default_normalise
        if normalise not in ("mass", "energy"):
            raise InputError(f"normalise {normalise!r} is neither 'mass' nor 'energy'.")
        weight, moment = self._operator.row_moments(1 if normalise == "mass" else 2)
        return moment / weight

    @property
    def default_normalise(self) -> Normalise:
        """``"mass"`` for softmax, ``"energy"`` for recurrent forms."""
        return "mass" if isinstance(self.form.core, Softmax) else "energy"

    def apply(self, values: Float[Tensor, "batch source groups value"]) -> Float[Tensor, "batch time heads value"]:
        """The matrix times other values, laid out like the recorded ones; `constant` is not added."""
        expected = self._value_shape()
        if tuple(values.shape[:3]) != expected[:3] or (self.unit == "channel" and values.shape[3] != expected[3]):
            raise InputError(f"apply needs values of shape {expected}, got {tuple(values.shape)}.")
        return self._operator.apply(values)

    @property
    def constant(self) -> Float[Tensor, "batch time heads value"]:
        """What the outputs hold beside ``A v``: the convolution's bias on its way through, and what a cache left."""
        constant = self._operator.constant
        return torch.zeros_like(self.recorded) if constant is None else constant

    @property
    def recorded(self) -> Float[Tensor, "batch time heads value"]:
        """The layer's own outputs that ``A v + constant`` equals: ``hook_z`` (core) or ``hook_head_out`` (mixer)."""
        return self.form.z if self.scope == "core" else self.form.outputs

    def check(self, full: bool = False, units: int = 16, rows: int = 64, seed: int = 0) -> float:
        """How far ``A v + constant`` is from the layer's recorded outputs: a relative error in the maximum norm.

        The left side multiplies *entries* of the matrix (closed forms, a tile at a time) with the recorded values; the
        right side came from the layer's own scan. Neither is computed from the other, so the number is evidence. Expect
        at most 1e-10 in float64 and 1e-5 in float32. A hook that edited ``hook_state``, ``hook_z`` or ``hook_head_out``
        in the recorded run shows up here as a large error, because the edited output is not ``A v``.

        Args:
            full: check every row of every unit; else a sample, whose cost does not grow with the layer.
            units: how many heads or channels the sample holds.
            rows: how many destinations the sample holds; the last one always.
            seed: of the sample.

        Returns:
            ``max |A v + constant - recorded| / max |recorded|`` over what was checked. Softmax rows that may look
            nowhere (pads) are left out: what a model writes there has no meaning.
        """
        return relative_error(
            self._operator,
            self.recorded,
            sample=None if full else (units, rows),
            seed=seed,
        )

    def _units(self, heads: Heads) -> list[int] | None:
        if heads is None:
            return None
        chosen = [int(head) for head in ([heads] if isinstance(heads, int) else heads)]
        if not chosen or not all(-self.units <= head < self.units for head in chosen):
            raise InputError(f"{self.unit}s go from 0 to {self.units - 1}, and at least one is needed; got {chosen}.")
        return [head % self.units for head in chosen]

    def _positions(self, at: Positions, what: str, length: int) -> Int[Tensor, "*positions"]:
        positions = torch.as_tensor(at, device=self.form.outputs.device)
        if positions.is_floating_point() or positions.dtype == torch.bool or positions.ndim > 2:
            raise InputError(f"A {what} is a position or a list of positions, got {at!r}.")
        positions = positions.long()
        positions = positions[None] if positions.ndim == 0 else positions
        if positions.ndim == 2 and positions.shape[0] not in (1, self.shape[0]):
            raise InputError(f"{what} lists {positions.shape[0]} sequences, the batch has {self.shape[0]}.")
        if positions.numel() and not (-length <= int(positions.min()) and int(positions.max()) < length):
            raise InputError(
                f"{what} goes from 0 to {length - 1}; got {int(positions.min())} to {int(positions.max())}."
            )
        return positions % length

    def _listed(self, at: Positions, what: str, length: int) -> Int[Tensor, " positions"]:
        positions = self._positions(at, what, length)
        if positions.ndim != 1:
            raise InputError("Rows and columns take one list of positions for the whole batch, not a list a sequence.")
        return positions

    def _value_shape(self) -> tuple[int, ...]:
        inputs = self.form.core.v if self.unit == "head" or self.form.inputs is None else self.form.inputs
        return tuple(inputs.shape)
