"""Cutting edges between tokens: a destination goes on as if it could not read some sources, in any family.

An edge ``(t, s)`` of a mixer is its matrix's entry ``A[t, s]``; the whole mixer's, with convolution and skip, for a
recurrent family. Everything the matrix is made of (gates, queries, keys, decays, normalisers) stays what it was. Two
meanings exist, and they differ where a write does more than add:

* ``"value"``: the destination loses what the source's input brings it, ``A[t, s] v_s``, and nothing else.
* ``"write"``: for the destination, step `s` never wrote. A delta rule's write also erases what was there before, and
  then does not (a neighbour's write into which a short convolution has mixed the source stays); a softmax row gives the
  source's share to the others (attention knockout as in Geva et al. 2023, arXiv:2304.14767, section 5). For plain
  decays both are the same.

Knock-outs add up to the set of edges that any of them names: an edge that two of them name is gone once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import InputError

Meaning: TypeAlias = Literal["value", "write"]
Where: TypeAlias = int | slice | range | Sequence[int] | Tensor


@dataclass(frozen=True)
class Positions:
    """A set of token positions: listed ones, or all from `start` up to `stop` (exclusive; None is without end)."""

    listed: tuple[int, ...] | None = None
    start: int = 0
    stop: int | None = None

    @classmethod
    def of(cls, where: Where, what: str) -> Positions:
        """Read positions as a user writes them; a slice may be open at its end, for tokens yet to be generated.

        Raises:
            InputError: negative positions, a stride, no position at all, or something that is no position.
        """
        if isinstance(where, slice):
            start = 0 if where.start is None else int(where.start)
            if where.step not in (None, 1):
                raise InputError(f"The {what} {where} have a stride; list the positions instead.")
            if start < 0 or (where.stop is not None and where.stop <= start):
                raise InputError(f"The {what} {start}:{where.stop} hold no position; positions count from 0.")
            return cls(None, start, where.stop)
        where = where.tolist() if isinstance(where, Tensor) else where
        listed = list(where) if isinstance(where, Iterable) else [where]
        if not listed or not all(isinstance(one, int) and one >= 0 for one in listed):
            raise InputError(f"The {what} {where!r} are no positions; give whole numbers from 0, or a slice.")
        return cls(tuple(sorted(set(listed))))

    @property
    def lowest(self) -> int:
        """The first position."""
        return self.start if self.listed is None else self.listed[0]

    @property
    def highest(self) -> int | None:
        """The last position; None without end."""
        if self.listed is not None:
            return self.listed[-1]
        return None if self.stop is None else self.stop - 1

    @property
    def bounds(self) -> set[int]:
        """Where membership may change from one position to the next; between two of them it does not."""
        if self.listed is not None:
            return {bound for one in self.listed for bound in (one, one + 1)}
        return {self.start} if self.stop is None else {self.start, self.stop}

    def among(self, positions: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Which of the positions belong to the set."""
        if self.listed is not None:
            return torch.isin(positions, torch.tensor(self.listed, device=positions.device))
        inside = positions >= self.start
        return inside if self.stop is None else inside & (positions < self.stop)


@dataclass(frozen=True)
class Edges:
    """Every edge from one of `sources` to one of `destinations`."""

    sources: Positions
    destinations: Positions


@dataclass(frozen=True)
class Knockout:
    """Edges to cut: from every source to every later destination, in some layers and heads or all.

    Positions count the columns of the batch from 0, padding included, and go on through generation; a slice without an
    end covers tokens that are yet to come. `HookedModel.knocked_out` puts it into force.

    Args:
        sources, destinations: a position, a slice, or positions.
        layers: a block number or several; None for all.
        heads: which heads of those layers lose the edges, a number or several; None for all.
        meaning: ``"write"`` or ``"value"``, see the module.
        mixer: which mixer of those layers loses the edges, where a layer has several (Falcon-H1's attention beside its
            Mamba-2 is 1). By default all of them, so that the source cannot be read there at all; where `heads` are
            given, the first, since head numbers are a mixer's own.

    Raises:
        InputError: no position, an unknown meaning, or a source that comes after every destination.
    """

    sources: Where
    destinations: Where
    layers: Sequence[int] | int | None = None
    heads: Sequence[int] | int | None = None
    meaning: Meaning = "write"
    edges: tuple[Edges, ...] = field(default=(), repr=False)
    mixer: int | None = None

    def __post_init__(self) -> None:
        if self.heads is not None and self.mixer is None:
            object.__setattr__(self, "mixer", 0)
        if self.meaning not in get_args(Meaning):
            raise InputError(f"meaning {self.meaning!r} is neither 'value' nor 'write'.")
        if not self.edges:
            sources = Positions.of(self.sources, "sources")
            destinations = Positions.of(self.destinations, "destinations")
            last = destinations.highest
            if last is not None and (sources.highest is None or sources.highest > last):
                what = "sources without end" if sources.highest is None else f"source {sources.highest}"
                raise InputError(f"A knock-out of the future: {what} cannot be read by destinations up to {last}.")
            object.__setattr__(self, "edges", (Edges(sources, destinations),))

    @classmethod
    def pairs(
        cls,
        pairs: Iterable[tuple[int, int]],
        layers: Sequence[int] | int | None = None,
        heads: Sequence[int] | int | None = None,
        meaning: Meaning = "write",
        mixer: int | None = None,
    ) -> Knockout:
        """Cut exactly the listed edges ``(destination, source)``.

        Raises:
            InputError: no pair, or a source after its destination.
        """
        by_destination: dict[int, set[int]] = {}
        for destination, source in pairs:
            if source > destination:
                raise InputError(f"A knock-out of the future: source {source} comes after destination {destination}.")
            by_destination.setdefault(destination, set()).add(source)
        if not by_destination:
            raise InputError("A knock-out of pairs needs at least one pair (destination, source).")
        # Destinations that lose the same sources share one run of the recurrence.
        together: dict[frozenset[int], list[int]] = {}
        for destination, sources in by_destination.items():
            together.setdefault(frozenset(sources), []).append(destination)
        edges = tuple(
            Edges(Positions.of(sorted(sources), "sources"), Positions.of(destinations, "destinations"))
            for sources, destinations in together.items()
        )
        every = sorted({source for sources in by_destination.values() for source in sources})
        return cls(every, sorted(by_destination), layers, heads, meaning, edges, mixer)

    def listed(self, name: str) -> tuple[int, ...] | None:
        """`layers` or `heads`, however they were given."""
        given = getattr(self, name)
        return None if given is None else (given,) if isinstance(given, int) else tuple(given)

    def cuts(self) -> list[Cut]:
        """One running cut for each set of edges, for one layer."""
        return [Cut(edges, self.meaning, self.listed("heads")) for edges in self.edges]

    def __str__(self) -> str:
        layers = self.listed("layers")
        where = "all layers" if layers is None else f"layers {list(layers)}"
        where += f", mixer {self.mixer}" if self.mixer else ""
        return f"Knockout({self.sources} -> {self.destinations}, {where}, {self.meaning})"


@dataclass
class Cut:
    """Edges being cut in one layer, and what of the sources has passed so far.

    Attributes:
        met: whether any of the edges has occurred.
        seen: tokens that have passed since the sequence began.
        past: what a recurrent mixer carries from one call to the next, for each set of cuts (see `meeting`) that this
            one comes first in.
    """

    edges: Edges
    meaning: Meaning
    heads: tuple[int, ...] | None
    met: bool = False
    seen: int = 0
    past: dict[tuple[int, ...], dict[str, Tensor]] = field(default_factory=dict)

    def begin(self, fresh: bool, layer: int) -> None:
        """Start over with a new sequence.

        Raises:
            InputError: a sequence goes on whose beginning was read without the cut.
        """
        if fresh:
            self.seen, self.past = 0, {}
        elif self.seen == 0:
            raise InputError(
                f"A knock-out in layer {layer} has to be in force when the prompt is read, not only while decoding."
            )

    def progress(self) -> Progress:
        """How far the cut has come, to go on from again."""
        return Progress(self, self.seen, {members: dict(past) for members, past in self.past.items()})

    def rows(self, time: int, device: torch.device) -> tuple[Bool[Tensor, " time"], Bool[Tensor, " time"]]:
        """Which of the next tokens are sources, and which are destinations; counts them as seen."""
        at = torch.arange(self.seen, self.seen + time, device=device)
        self.seen += time
        destinations = self.edges.destinations.among(at)
        if bool(destinations.any()):
            latest = int(at[destinations].max())
            self.met = self.met or self.edges.sources.lowest <= latest
        return self.edges.sources.among(at), destinations

    def matrix(self, time: int, source: int, device: torch.device) -> Bool[Tensor, "time source"]:
        """The cut entries of a softmax matrix of `time` queries; its sources end at the last query.

        A cache may have dropped its oldest sources (a sliding window), or hold room for later ones.
        """
        if source == time:
            self.seen = time
        else:
            self.seen = (self.seen or source - time) + time
        first = max(0, self.seen - source)
        sources = torch.arange(first, first + source, device=device)
        queries = torch.arange(self.seen - time, self.seen, device=device)
        cut = self.edges.destinations.among(queries)[:, None] & self.edges.sources.among(sources)
        cut = cut & (sources <= queries[:, None])
        self.met = self.met or bool(cut.any())
        return cut

    def of_heads(self, count: int, device: torch.device) -> Bool[Tensor, " heads"]:
        """Which heads lose the edges.

        Raises:
            InputError: a head that the layer does not have.
        """
        if self.heads is None:
            return torch.ones(count, dtype=torch.bool, device=device)
        if not all(0 <= head < count for head in self.heads):
            raise InputError(f"The knock-out names heads {list(self.heads)}; the layer has heads 0 to {count - 1}.")
        chosen = torch.zeros(count, dtype=torch.bool, device=device)
        chosen[list(self.heads)] = True
        return chosen


@dataclass(frozen=True)
class Progress:
    """How far a cut had come when a text was put aside; see `Cut`."""

    cut: Cut
    seen: int
    past: dict[tuple[int, ...], dict[str, Tensor]]

    def restore(self) -> None:
        """Put the cut back to there."""
        self.cut.seen, self.cut.past = self.seen, {members: dict(past) for members, past in self.past.items()}


def meeting(cuts: Sequence[Cut]) -> list[tuple[int, ...]]:
    """Every set of cuts, by their places in the list, that some destination and head are in, and in no others.

    What such a destination loses is what all of them take together: an edge that two cuts name is gone once.
    """
    if len(cuts) == 1:
        return [(0,)]
    named: set[int | None] = {head for cut in cuts for head in cut.heads or ()}
    by_head = {
        frozenset(i for i, cut in enumerate(cuts) if cut.heads is None or head in cut.heads) for head in named | {None}
    }
    bounds = torch.tensor(sorted(set().union(*(cut.edges.destinations.bounds for cut in cuts))))
    inside = torch.stack([cut.edges.destinations.among(bounds) for cut in cuts], dim=1).unique(dim=0)
    by_place = {frozenset(row.nonzero()[:, 0].tolist()) for row in inside}
    return sorted({tuple(sorted(places & heads)) for places in by_place for heads in by_head if places & heads})


def silenced(x: Tensor, where: Bool[Tensor, " time"]) -> Tensor:
    """``[batch, time, ...]`` with the marked steps set to zero."""
    return x.masked_fill(where.view(1, -1, *[1] * (x.ndim - 2)), 0)
