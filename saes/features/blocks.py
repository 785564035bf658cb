"""The second half of a pass reads what the first put on disk: all activations of some features at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.saes.features.ledger import Shard
from workbench.saes.features.shards import codes_file, rows_file
from workbench.saes.features.sorting import order_by, starts_of

BLOCK_ACTIVE = 2**22
"""Activations that are worked on at once; a single feature that has more is worked on alone."""


@dataclass(frozen=True, eq=False)
class Text:
    """The tokens of a store, as arrays.

    Attributes:
        ids: token ids, a row after the other.
        read: which of them were read.
        offsets: where each row begins in them, and, last, where they end.
        stride: a number that no row is longer than: token `position` of a row is at ``row * stride + position``.
    """

    ids: Int[np.ndarray, " tokens"]
    read: Bool[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " _"]
    stride: int

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """How many tokens were read."""
        return int(self.read.sum())

    def row(self, row: int) -> Int[np.ndarray, " length"]:
        """Token ids of a row."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def flat(self, place: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"]:
        """Index in `ids` of places ``row * stride + position``."""
        found: np.ndarray = self.offsets[place // self.stride] + place % self.stride
        return found


@dataclass(frozen=True, eq=False)
class Block:
    """All activations of the features ``first .. first + count - 1``, by feature, of each in the order of the text.

    Attributes:
        feature: counted from `first`.
        place: ``row * stride + position``.
        value: above 0.
        starts: where each feature begins, and, last, where they end.
    """

    first: int
    count: int
    feature: Int[np.ndarray, " active"]
    place: Int[np.ndarray, " active"]
    value: Float[np.ndarray, " active"]
    starts: Int[np.ndarray, " _"]

    @property
    def features(self) -> Int[np.ndarray, " features"]:
        """The features' numbers."""
        return np.arange(self.first, self.first + self.count, dtype=np.int32)

    @property
    def counts(self) -> Int[np.ndarray, " features"]:
        """Tokens at which each fires."""
        return np.diff(self.starts)


def read_text(folder: Path, shards: list[Shard]) -> Text:
    """The tokens of all shards."""
    import pyarrow.parquet as pq

    ids, read, lengths = [], [], []
    for shard in shards:
        table = pq.read_table(rows_file(folder, shard.shard), columns=["token_ids", "read"])
        column = table["token_ids"].combine_chunks()
        ids.append(column.flatten().to_numpy())
        lengths.append(np.diff(column.offsets.to_numpy()))
        read.append(table["read"].combine_chunks().flatten().to_numpy(zero_copy_only=False))
    sizes = np.concatenate(lengths)
    return Text(
        np.concatenate(ids), np.concatenate(read), np.concatenate([[0], np.cumsum(sizes)]), int(sizes.max(initial=1))
    )


class StoredCodes:
    """Activations on disk, by feature.

    Args:
        stride: see `Text`.
    """

    def __init__(self, folder: Path, shards: list[Shard], features: int, stride: int) -> None:
        import pyarrow.parquet as pq

        self.features, self.stride = features, stride
        self._files = [pq.ParquetFile(codes_file(folder, shard.shard)) for shard in shards]
        self._bounds = [_bounds(file) for file in self._files]

    def counts(self) -> Int[np.ndarray, " features"]:
        """Tokens at which each feature fires."""
        found = np.zeros(self.features, dtype=np.int64)
        for file in self._files:
            for group in range(file.num_row_groups):
                column = file.read_row_group(group, columns=["feature"])["feature"].to_numpy()
                found += np.bincount(column, minlength=self.features)
        return found

    def blocks(self, counts: Int[np.ndarray, " features"]) -> list[range]:
        """Features in ranges of at most `BLOCK_ACTIVE` activations, or of one feature."""
        ends = np.cumsum(counts)
        found, start = [], 0
        while start < self.features:
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_ACTIVE, side="right")))
            found.append(range(start, stop))
            start = stop
        return found

    def read(self, features: range) -> Block:
        """The activations of some features."""
        parts: list[tuple[Any, ...]] = []
        for file, (low, high) in zip(self._files, self._bounds, strict=True):
            groups = np.flatnonzero((low < features.stop) & (high >= features.start)).tolist()
            if groups:
                table = file.read_row_groups(groups)
                feature = table["feature"].to_numpy()
                here = slice(*np.searchsorted(feature, [features.start, features.stop]).tolist())
                place = (
                    table["row"].to_numpy()[here].astype(np.int64) * self.stride + table["position"].to_numpy()[here]
                )
                parts.append((feature[here] - features.start, place, table["value"].to_numpy()[here]))
        if not parts:
            parts = [(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))]
        feature, place, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = order_by(feature)
        feature = feature[order]
        return Block(
            features.start, len(features), feature, place[order], value[order], starts_of(feature, len(features))
        )

    def shards(self, text: Text) -> Iterator[tuple[Int[np.ndarray, " active"], Int[np.ndarray, " active"]]]:
        """Shard by shard, which feature fires and at which token of `Text.ids`, by feature."""
        for file in self._files:
            table = file.read(columns=["feature", "row", "position"])
            yield table["feature"].to_numpy(), text.offsets[table["row"].to_numpy()] + table["position"].to_numpy()


def _bounds(file: Any) -> tuple[Int[np.ndarray, " groups"], Int[np.ndarray, " groups"]]:
    """The first and last feature of each row group."""
    # A shard in which nothing fires has a group without a first and last.
    groups = [file.metadata.row_group(number).column(0).statistics for number in range(file.num_row_groups)]
    groups = [one for one in groups if one is not None and one.has_min_max]
    return np.array([one.min for one in groups], dtype=np.int64), np.array([one.max for one in groups], dtype=np.int64)
