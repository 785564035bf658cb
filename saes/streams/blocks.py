"""Rows in, shuffled batches out: a buffer that is filled, shuffled, handed out and filled again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError

Position = dict[str, Any]
PLACE = 8
"""Bytes of a row's place in the shuffled order."""


@runtime_checkable
class Piece(Protocol):
    """Some rows of a feed."""

    @property
    def values(self) -> tuple[Float[Tensor, "rows _"], ...]:
        """The rows, of everything that is read side by side."""

    @property
    def after(self) -> Position:
        """Where the feed goes on after them."""


@runtime_checkable
class Feed(Protocol):
    """What gives rows, from any of its positions on, and always the same ones."""

    widths: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def most_rows(self) -> int:
        """Rows a piece has at most."""

    def rows(self, position: Position | None = None) -> Iterator[Piece]:
        """The pieces from a position on; None is the start."""

    def about(self) -> dict[str, Any]:
        """What decides about the rows, as plain values."""


class ShuffledBlocks:
    """Batches of a feed's rows, shuffled within as many rows as fit into so many bytes.

    Each block of rows is gathered in full before its first batch is handed out, so that what a block holds depends on
    where it begins and on nothing before: to go on in the middle of it is to gather that one block again.

    Args:
        batch: rows a batch; the last one of all may have fewer.
        buffer_bytes: what the rows that are held take at most, with their order and what a forward pass gives at once.
        seed: of the order within blocks.
        drop_last: leave out a last batch that is not full.

    Raises:
        InputError: a number out of range; so few bytes that no batch fits.
    """

    def __init__(self, feed: Feed, batch: int, buffer_bytes: int, seed: int = 0, drop_last: bool = False) -> None:
        if batch < 1:
            raise InputError(f"batch is {batch}; at least one row a batch is needed.")
        row = sum(feed.widths) * feed.dtype.itemsize
        waiting = feed.most_rows * row
        capacity = (buffer_bytes - waiting) // (row + PLACE) // batch * batch
        if capacity < batch:
            raise InputError(
                f"buffer_bytes is {buffer_bytes}; a batch of {batch} rows of {sum(feed.widths)} numbers and the "
                f"{feed.most_rows} rows that may come at once take {waiting + batch * (row + PLACE)}."
            )
        self.feed, self.batch, self.capacity, self.seed, self.drop_last = feed, batch, capacity, seed, drop_last
        self._buffers: tuple[Tensor, ...] | None = None
        self._begin(None, 0, 0)
        self.rows = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are held now."""
        held = [*(self._buffers or ()), *(self._waiting.values if self._waiting is not None else ()), self._order]
        return sum(tensor.untyped_storage().nbytes() for tensor in held)

    def next(self) -> tuple[Float[Tensor, "batch _"], ...]:
        """The next batch, of everything side by side. Raises StopIteration at the end."""
        if self._served == len(self._order):
            self._fill()
        left = len(self._order) - self._served
        if not left or (self.drop_last and left < self.batch):
            raise StopIteration
        chosen = self._order[self._served : self._served + self.batch]
        self._served += len(chosen)
        self.rows += len(chosen)
        return tuple(buffer.index_select(0, chosen) for buffer in self._buffers or ())

    def state(self) -> dict[str, Any]:
        """Where the next batch is, as plain values."""
        at_end = self._served == len(self._order)
        at, skip = (self._at, self._taken) if at_end else self._start
        return {
            "at": at,
            "skip": skip,
            "block": self._block + at_end,
            "served": 0 if at_end else self._served,
            "rows": self.rows,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; a block that was begun is gathered again."""
        self._begin(state["at"], int(state["skip"]), int(state["block"]))
        self.rows = int(state["rows"])
        if state["served"]:
            self._fill()
            self._served = int(state["served"])

    def _begin(self, at: Position | None, skip: int, block: int) -> None:
        self._pieces: Iterator[Piece] | None = None
        self._waiting: Piece | None = None
        self._at = at  # where the piece that waits begins, or the next one where none does
        self._taken = skip  # rows of that piece which are in a block
        self._block = block - 1
        self._start = (at, skip)
        self._order = torch.empty(0, dtype=torch.long, device=self.feed.device)
        self._served = 0

    def _fill(self) -> None:
        """Gather the next block, and the order in which it is handed out."""
        if self._pieces is None:
            self._pieces = self.feed.rows(self._at)
        if self._buffers is None:
            feed = self.feed
            self._buffers = tuple(
                torch.empty(self.capacity, width, dtype=feed.dtype, device=feed.device) for width in feed.widths
            )
        self._start = (self._at, self._taken)
        self._block += 1
        held = 0
        while held < self.capacity:
            if self._waiting is None:
                self._waiting = next(self._pieces, None)
                if self._waiting is None:
                    break
            held = self._take(self._waiting, held)
        order = np.random.default_rng([self.seed, self._block]).permutation(held)
        self._order, self._served = torch.from_numpy(order).to(self.feed.device), 0

    def _take(self, piece: Piece, held: int) -> int:
        """Copy what fits of a piece, and say how many rows the block then has."""
        rows = len(piece.values[0])
        taken = min(rows - self._taken, self.capacity - held)
        for buffer, values in zip(self._buffers or (), piece.values, strict=True):
            buffer[held : held + taken] = values[self._taken : self._taken + taken]
        self._taken += taken
        if self._taken == rows:
            self._at, self._taken, self._waiting = piece.after, 0, None
        return held + taken
