"""Activations of a text as shuffled batches, for whatever is trained on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.site import VectorSite
from workbench.saes.streams.blocks import Feed, ShuffledBlocks
from workbench.saes.streams.reading import Reading, SiteLike
from workbench.saes.streams.source import SourceLike

BATCH = 4096
BUFFER_BYTES = 2**28

Batch = TypeVar("Batch")


class ShuffledStream(ABC, Generic[Batch]):
    """Shuffled batches one after the other, which can go on where they were left, in another process, too.

    Args:
        feed: where the rows come from.
        batch, buffer_bytes, seed, drop_last: as in `ShuffledBlocks`.
    """

    def __init__(
        self,
        feed: Feed,
        batch: int = BATCH,
        buffer_bytes: int = BUFFER_BYTES,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.feed = feed
        self._blocks = ShuffledBlocks(feed, batch, buffer_bytes, seed, drop_last)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rows} rows of {self.widths} served, batches of {self._blocks.batch})"

    @abstractmethod
    def __next__(self) -> Batch:
        """The next batch."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers a row has, of everything that is read side by side."""
        return self.feed.widths

    @property
    def rows(self) -> int:
        """Rows handed out so far, before a resumption, too."""
        return self._blocks.rows

    @property
    def nbytes(self) -> int:
        """Bytes of rows that are held now, at most `buffer_bytes`."""
        return self._blocks.nbytes

    @property
    def where(self) -> str:
        """Which rows were handed out last, for messages."""
        return f"rows {max(0, self.rows - self._blocks.batch)} to {max(0, self.rows - 1)} of the stream"

    def state(self) -> dict[str, Any]:
        """Where the next batch is: plain values, small enough to be written with every checkpoint."""
        return {"about": self._about(), **self._blocks.state()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the very batches that would have come.

        Raises:
            InputError: the state is no such thing, or of a stream of other rows or other batches.
        """
        missing = {"about", "at", "skip", "block", "served", "rows"} - set(state)
        if missing:
            raise InputError(f"This is no state of a stream: it lacks {', '.join(sorted(missing))}.")
        changed = list(differences(state["about"], self._about()))
        if changed:
            raise InputError(f"The state is of another stream: {'; '.join(changed[:3])}.")
        self._blocks.resume(state)

    def restart(self) -> None:
        """Begin again with the first batch."""
        self._blocks.resume({"at": None, "skip": 0, "block": 0, "served": 0, "rows": 0})

    def _about(self) -> dict[str, Any]:
        blocks = self._blocks
        options = {name: getattr(blocks, name) for name in ("batch", "capacity", "seed", "drop_last")}
        return {**self.feed.about(), **options, "dtype": str(self.feed.dtype).removeprefix("torch.")}


class VectorStream(ShuffledStream[Tensor]):
    """A stream of single tensors."""

    def __iter__(self) -> VectorStream:
        return self

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        return self._blocks.next()[0]

    @property
    def d_in(self) -> int:
        """Numbers a row has."""
        return self.widths[0]


class JointStream(ShuffledStream[tuple[Tensor, ...]]):
    """A stream of several tensors side by side, row by row of the same token."""

    def __iter__(self) -> JointStream:
        return self

    def __next__(self) -> tuple[Float[Tensor, "batch _"], ...]:
        return self._blocks.next()


class ActivationStream(VectorStream):
    """Shuffled batches of the vectors that a text gives at one site; `activation_stream` makes one.

    It is an iterator: a loop that is left and begun anew goes on with the next batch.
    """

    def __init__(self, reading: Reading, **options: Any) -> None:
        super().__init__(reading, **options)
        self.reading = reading

    @property
    def site(self) -> VectorSite:
        """What is read."""
        return self.reading.sites[0]


class JointActivationStream(JointStream):
    """As `ActivationStream`, of several sites at once: one vector a token and site, for transcoders."""

    def __init__(self, reading: Reading, **options: Any) -> None:
        super().__init__(reading, **options)
        self.reading = reading

    @property
    def sites(self) -> list[VectorSite]:
        """What is read."""
        return self.reading.sites


class StreamOptions(TypedDict, total=False):
    """The options of `activation_stream`, which documents them."""

    length: int | None
    batch: int
    windows: int
    buffer_bytes: int
    seed: int
    special: bool
    drop_first: int
    dtype: torch.dtype
    device: torch.device | str | None
    drop_last: bool


@overload
def activation_stream(
    model: HookedModel, source: SourceLike, site: SiteLike, **options: Unpack[StreamOptions]
) -> ActivationStream: ...


@overload
def activation_stream(
    model: HookedModel, source: SourceLike, site: list[Any] | tuple[Any, ...], **options: Unpack[StreamOptions]
) -> JointActivationStream: ...


def activation_stream(
    model: HookedModel,
    source: SourceLike,
    site: SiteLike | list[Any] | tuple[Any, ...],
    *,
    length: int | None = None,
    batch: int = BATCH,
    windows: int = 16,
    buffer_bytes: int = BUFFER_BYTES,
    seed: int = 0,
    special: bool = False,
    drop_first: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    drop_last: bool = False,
) -> ActivationStream | JointActivationStream:
    """Activations of a text at a hook of any family, as shuffled batches ``[batch, d_in]``.

    Args:
        source: text of any kind (see `TextSource`).
        site: a hook or `VectorSite`, or several that are read in one pass: batches are then tuples.
        length: tokens a window; 128 where the source does not say.
        batch: rows a batch; the last may have fewer, unless `drop_last` leaves it out.
        windows: windows a forward pass.
        buffer_bytes: what the rows that are held for shuffling take at most.
        seed: of the order of documents, where the source has none of its own, and of the rows.
        special, drop_first, dtype, device: see `Reading`.

    Raises:
        InputError: see `TextSource`, `Reading` and `ShuffledBlocks`.
    """
    reading = Reading(
        model,
        source,
        site,
        length=length,
        windows=windows,
        special=special,
        drop_first=drop_first,
        dtype=dtype,
        device=device,
        seed=seed,
    )
    one = isinstance(site, VectorSite | str)
    kind = ActivationStream if one else JointActivationStream
    return kind(reading, batch=batch, buffer_bytes=buffer_bytes, seed=seed, drop_last=drop_last)


def differences(was: Any, now: dict[str, Any], within: str = "") -> Iterator[str]:
    """Sentences about the values that two descriptions do not share."""
    if not isinstance(was, dict):
        yield "it says nothing of its rows"
        return
    for name in sorted({*was, *now}):
        old, new = was.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{within}{name} ")
        elif old != new:
            short = len(f"{old}{new}") <= 60
            yield f"{within}{name} was {old} and is {new}" if short else f"{within}{name} differ"
