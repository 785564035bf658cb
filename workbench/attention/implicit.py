"""`ImplicitAttention`: what one layer's tokens read from which earlier tokens, for every family alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention.averages import AVERAGES, Average, averaged
from workbench.attention.check import relative_error
from workbench.attention.operators import CoreOperator, MixerOperator, Operator
from workbench.attention.reductions import LINEAR
from workbench.attention.written import written, written_norms
from workbench.errors import InputError
from workbench.forms import MixerForm, Softmax
from workbench.kernels.streaming import Reduction, Streamed
from workbench.kernels.streaming.result import planned

if TYPE_CHECKING:
    import plotly.graph_objects as go

Scope: TypeAlias = Literal["core", "mixer"]
Normalise: TypeAlias = Literal["mass", "energy"]
Positions: TypeAlias = Tensor | Sequence[int] | int
Heads: TypeAlias = Sequence[int] | int | None


class TopEntries(NamedTuple):
    """The largest entries of each row, ``[batch, units, time, k]``, the largest first.

    Attributes:
        values: with their signs.
        sources: their source positions. Where a row has fewer entries that are not 0: value 0, source -1.
    """

    values: Float[Tensor, "b u t k"]
    sources: Int[Tensor, "b u t k"]


class ImplicitAttention:
    """One layer's causal matrix ``A[t, s]`` from source `s` to destination `t`, read without building it.

    ``scope="core"`` is the recurrence (or softmax) alone, one matrix a head. ``scope="mixer"`` is the whole mixer from
    the input projection's output to the output projection's input, one matrix a channel, with convolution, activation
    slope, skip, gate and norm scale at their recorded values; what no token carries (the convolution's bias) is
    `constant`. Both are exact: `check` says how exact.

    Nothing is computed before it is asked for. Memory is linear in time for everything except the tile that `dense` is
    asked for. So is the time of what is made of signed sums, of squares and of listed entries, in both scopes: `pairs`,
    `row_sum`, `row_energy`, `mean_distance("energy")`. What is made of ``|A|`` is streamed (see `reduced`).

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

    def _repr_html_(self) -> str:
        """A card of what this is, for notebooks; nothing is computed for it."""
        from workbench.report.cards import Card, render_card

        batch, units, time, source = self.shape
        where = "" if self.layer is None else f" of layer {self.layer}"
        where += f", mixer {self.mixer}" if self.mixer else ""
        facts = {
            "form": type(self.form.core).__name__,
            "scope": self.scope,
            "matrices": f"{units:,}, one a {self.unit}",
            "each": f"{time:,} × {source:,} (reads × is read)" + (f", batch of {batch}" if batch > 1 else ""),
        }
        note = "Nothing is built yet: plot(head), dense(heads, rows), topk(), entropy() read it; check() tests it."
        return render_card(Card(f"Implicit attention{where}", facts, note=note))

    def plot(self, head: int = 0, tokens: Sequence[str] | None = None, batch: int = 0) -> go.Figure:
        """Heat map of one matrix: who reads from whom, the future hatched, signed entries blue and vermillion.

        Args:
            head: which unit's (see `units`).
            tokens: text of every token, as ``model.to_str_tokens(text)`` gives it; None for their places.
            batch: which sequence.

        Raises:
            InputError: no such unit or sequence, or another number of tokens.
        """
        from workbench.attention.picture import matrix_figure

        return matrix_figure(self, head, tokens, batch)

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

    def written(self, query: Positions, key: Positions, head: int) -> Float[Tensor, "b pairs each"]:
        """What each listed entry puts into ``hook_head_out``: the entry, times what its source holds, times the gate.

        Times the head's rows of the output matrix that is what one source writes into the residual stream through one
        head. Over all sources it adds up to the head's output, but for skip and constants in core scope (and but for
        `constant` in mixer scope, where a unit is a channel).

        Args:
            query, key: ``[pairs]``; a key after its query writes 0.
            head: a unit number (see `units`).
        """
        destinations, sources = (
            self._listed(at, what, size)
            for at, what, size in ((query, "query", self.shape[2]), (key, "key", self.shape[3]))
        )
        if len(destinations) != len(sources):
            raise InputError(f"{len(destinations)} queries and {len(sources)} keys do not pair up.")
        return written(self._operator, destinations, sources, self._unit(head))

    def written_norms(
        self, head: int, query: Positions | None = None, output: Float[Tensor, "each model"] | None = None
    ) -> Float[Tensor, "b r s"]:
        """The norm of what every entry of the listed rows (all) writes: attention weighted by its values.

        A large weight on a small value moves little (Kobayashi et al. 2020, arXiv:2004.10102).

        Args:
            head: a unit number.
            output: the head's rows of the output matrix, ``HeadWeights.W_O[head]``, for norms in the residual stream;
                None for norms in ``hook_head_out``.
        """
        rows = torch.arange(self.shape[2]) if query is None else query
        return written_norms(self._operator, self._listed(rows, "query", self.shape[2]), self._unit(head), output)

    def average(
        self,
        over: Average | str = "size",
        heads: Heads = None,
        rows: Positions | None = None,
        output: Float[Tensor, "units each model"] | None = None,
    ) -> Float[Tensor, "b r s"]:
        """The matrices of the layer as one, exactly, and never all of them at once.

        Args:
            over: ``"mean"`` of the entries, in which signs cancel; ``"size"``, the mean of ``|A[t, s]|``; or
                ``"written"``, the mean norm of what each writes (`written_norms`).
            heads: the units to average over, None for all.
            rows: destinations, None for all; the result holds as many rows.
            output: for ``"written"``, every unit's rows of the output matrix (``HeadWeights.W_O``), in the order of
                the layer; None for norms in ``hook_head_out``.

        Raises:
            InputError: no such average, unit or row.
        """
        if over not in AVERAGES:
            raise InputError(f"over {over!r} is none of {', '.join(AVERAGES)}.")
        units = self._units(heads) or list(range(self.units))
        query = self._listed(torch.arange(self.shape[2]) if rows is None else rows, "row", self.shape[2])
        each = None if output is None else [output[unit] for unit in units]
        return averaged(self._operator, over, units, query, each)

    def row_sum(self) -> Float[Tensor, "b u t"]:
        """``sum_s A[t, s]``, signs kept, ``[batch, units, time]``."""
        return self._operator.row_sum()

    def row_energy(self, heads: Heads = None) -> Float[Tensor, "b u t"]:
        """``sum_s A[t, s]^2``, ``[batch, units, time]``; in linear time."""
        return _by_unit(self.reduced(["energy"], heads).energy)

    def row_mass(self, heads: Heads = None) -> Float[Tensor, "b u t"]:
        """``sum_s |A[t, s]|``, ``[batch, units, time]``: for softmax what is left beside its sink, else 1. Streamed."""
        return _by_unit(self.reduced(["mass"], heads).mass)

    def entropy(self, heads: Heads = None) -> Float[Tensor, "b u t"]:
        """Shannon entropy over the sources of ``|A[t, s]| / mass``, ``[batch, units, time]``, in nats. Streamed.

        0 for a row that reads one source, ``log(t + 1)`` for one that reads all alike, NaN for one that reads nothing.
        """
        found = self.reduced(["mass", "entropy"], heads)
        return _by_unit(_of_readers(found.entropy, found.mass))

    def topk(self, k: int = 8, heads: Heads = None) -> TopEntries:
        """The `k` entries of largest magnitude in each row, at most 64. Streamed."""
        found = self.reduced(["top"], heads, top=k)
        return TopEntries(_by_unit(found.top_values), _by_unit(found.top_sources))

    def column_mass(self, heads: Heads = None) -> Float[Tensor, "b u s"]:
        """``sum_t |A[t, s]|``: how much each source is read in all, ``[batch, units, source]``. Streamed."""
        return _by_unit(self.reduced(["column_mass"], heads).column_mass)

    def column_energy(self, heads: Heads = None) -> Float[Tensor, "b u s"]:
        """``sum_t A[t, s]^2``, ``[batch, units, source]``. Streamed."""
        return _by_unit(self.reduced(["column_energy"], heads).column_energy)

    def mean_distance(self, normalise: Normalise | str | None = None, heads: Heads = None) -> Float[Tensor, "b u t"]:
        """How many tokens back each destination reads on average, ``[batch, units, time]``, in tokens.

        The average weighs sources by ``|A|`` (``"mass"``, streamed) or by ``A^2`` (``"energy"``, in linear time), two
        different numbers. None means mass for softmax, where it is the attention probability, and energy for recurrent
        forms. A row that reads nothing (a pad) is NaN.
        """
        if normalise is None:
            normalise = self.default_normalise
        if normalise == "mass":
            found = self.reduced(["mass", "mean_distance_by_mass"], heads)
            return _by_unit(_of_readers(found.mean_distance_by_mass, found.mass))
        if normalise != "energy":
            raise InputError(f"normalise {normalise!r} is neither 'mass' nor 'energy'.")
        found = self.reduced(["energy", "mean_distance_by_energy"], heads)
        return _by_unit(_of_readers(found.mean_distance_by_energy, found.energy))

    def distance_histogram(
        self, bins: Sequence[int] | None = None, heads: Heads = None
    ) -> tuple[Float[Tensor, "b u bins"], Int[Tensor, " edges"]]:
        """``sum |A[t, s]|`` over all entries by their distance ``t - s``, and the bins' edges in tokens. Streamed.

        Args:
            bins: increasing edges; a bin holds distances from its edge up to the next, that one not included. None for
                0, 1, 2, 4, 8, ...
        """
        found = self.reduced(["histogram"], heads, bins=bins)
        assert found.histogram is not None and found.edges is not None  # both were asked for
        return found.histogram, found.edges

    def reduced(
        self,
        reductions: Sequence[Reduction | str] = ("mass", "entropy"),
        heads: Heads = None,
        top: int = 8,
        bins: Sequence[int] | None = None,
    ) -> Streamed:
        """Several reductions of the rows and columns in one go, laid out ``[batch, time, units]``.

        Nothing of size time x time is held at any length. Energies alone take time linear in the length; whatever needs
        ``|A|`` is streamed, in time that grows with its square. In mixer scope every channel is a matrix of its own, as
        many times the work of the core as a head has channels; a convolution's taps beside the diagonal are entries of
        their own there, and all older sources one recurrence (`workbench.attention.unrolled`). A softmax or a filter
        with a gate for every channel is the one case whose tiles are built, each once.

        Args:
            reductions: any of `workbench.kernels.streaming.REDUCTIONS`; see `Streamed` for what each is. Their names
                say by what they are normalised, ``mass`` or ``energy``.
            heads: a unit number or several (see `units`), None for all.
            top: entries kept a row where ``top`` is asked for, at most 64.
            bins: see `distance_histogram`.

        Raises:
            InputError: no such reduction or unit; `top` or `bins` out of range.
        """
        chosen = self._units(heads)
        try:
            asked = planned(reductions, top, bins, 0.0, self.shape[3]).asked
        except ValueError as error:
            raise InputError(f"{error}.") from error
        # A stream knows no gradients; half of one would be wrong.
        wanted: list[Reduction] = [name for name in asked if name in reductions]
        with torch.set_grad_enabled(torch.is_grad_enabled() and LINEAR.issuperset(wanted)):
            return self._operator.reduced(wanted, chosen, top, bins)

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

    def _unit(self, head: int) -> int:
        chosen = self._units(head)
        assert chosen is not None  # one was asked for
        return chosen[0]

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


def _by_unit(found: Tensor | None) -> Tensor:
    assert found is not None  # it was asked for
    return found.transpose(1, 2)


def _of_readers(found: Tensor | None, weight: Tensor | None) -> Tensor:
    """NaN where a row has no weight at all: it reads nothing, which is neither near nor far."""
    assert found is not None and weight is not None
    return found.masked_fill(weight == 0, torch.nan)
