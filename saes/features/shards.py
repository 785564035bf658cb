"""The first half of a pass: text through the model and the encoder, a shard at a time, onto the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.features.codes import sparse_codes
from workbench.saes.features.ledger import Shard
from workbench.saes.features.parquet import write_parquet
from workbench.saes.features.pieces import Pieces
from workbench.saes.features.room import Room
from workbench.saes.features.sorting import order_by
from workbench.saes.streams import Reading, TokenBatch


@dataclass
class Draft:
    """A shard while it grows.

    Attributes:
        number: of the shard.
        first_row: the first of its rows of tokens.
        ids: token ids, a row after the other.
        lengths: of the rows.
        read: which tokens were read.
        parts: ``(row, position, feature, value)`` of what fires, pass by pass, in the order of the text.
    """

    number: int
    first_row: int
    ids: list[np.ndarray] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    read: list[np.ndarray] = field(default_factory=list)
    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    tokens: int = 0

    def add(self, batch: TokenBatch, wanted: Bool[np.ndarray, "windows time"]) -> None:
        """Note the tokens of a pass; `codes` notes what fires there."""
        for row, length in enumerate(batch.lengths.tolist()):
            self.ids.append(batch.tokens[row, :length].numpy().astype(np.int32))
            self.read.append(wanted[row, :length])
            self.lengths.append(length)
        self.tokens += int(wanted.sum())

    @property
    def sha256(self) -> str:
        """Of the tokens, the rows they are in, and which of them were read."""
        digest = hashlib.sha256(np.asarray(self.lengths, dtype=np.int64).tobytes())
        for ids, read in zip(self.ids, self.read, strict=True):
            digest.update(ids.tobytes())
            digest.update(np.packbits(read).tobytes())
        return digest.hexdigest()

    def shard(self) -> Shard:
        """What the ledger notes."""
        active = sum(len(part[0]) for part in self.parts)
        return Shard(self.number, self.first_row, len(self.lengths), self.tokens, active, self.sha256)

    def write(self, folder: Path, pieces: Pieces, room: Room | None = None) -> None:
        """Put the shard's two files in their place. Raises InputError as `write_parquet` does."""
        import pyarrow as pa

        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)
        rows = np.arange(self.first_row, self.first_row + len(self.lengths), dtype=np.int32)
        texts = [pieces.row(ids.tolist()) for ids in self.ids]
        listed = pa.ListArray.from_arrays
        write_parquet(
            rows_file(folder, self.number),
            {
                "row": rows,
                "token_ids": listed(offsets, np.concatenate(self.ids)),
                "tokens": listed(offsets, pa.array([piece for row in texts for piece in row], pa.string())),
                "text": pa.array(["".join(row) for row in texts], pa.string()),
                "read": listed(offsets, np.concatenate(self.read)),
            },
            room=room,
        )
        row, position, feature, value = (np.concatenate(columns) for columns in zip(*self.parts, strict=True))
        order = order_by(feature)
        write_parquet(
            codes_file(folder, self.number),
            {"feature": feature[order], "row": row[order], "position": position[order], "value": value[order]},
            sorted_numbers=("feature", "row", "position"),
            room=room,
        )


def rows_file(folder: Path, shard: int) -> Path:
    """Where a shard's tokens are."""
    return folder / "rows" / f"rows-{shard:05d}.parquet"


def codes_file(folder: Path, shard: int) -> Path:
    """Where a shard's activations are, in the order of features and, of each, of the text."""
    return folder / "codes" / f"codes-{shard:05d}.parquet"


def drafts(
    reading: Reading, shard_tokens: int, tokens: int | None, passes: Iterable[TokenBatch]
) -> Iterator[tuple[Draft, list[Pass]]]:
    """Cut the passes of a text into shards, each of at least `shard_tokens` tokens that are read but the last.

    Args:
        tokens: after so many read tokens, rounded up to a pass, the text ends.
        passes: the batches of the whole text.
    """
    draft, held, before = Draft(0, 0), list[Pass](), 0
    for batch in passes:
        wanted = wanted_tokens(reading, batch)
        draft.add(batch, wanted)
        held.append(Pass(batch, wanted))
        full = tokens is not None and before + draft.tokens >= tokens
        if draft.tokens >= shard_tokens or full:
            yield draft, held
            before += draft.tokens
            draft, held = Draft(draft.number + 1, draft.first_row + len(draft.lengths)), []
        if full:
            return
    if draft.lengths:
        yield draft, held


@dataclass(frozen=True, eq=False)
class Pass:
    """The windows of one forward pass, and which of their tokens are read."""

    batch: TokenBatch
    wanted: Bool[np.ndarray, "windows time"]


def wanted_tokens(reading: Reading, batch: TokenBatch) -> Bool[np.ndarray, "windows time"]:
    """Which tokens of a batch are read, in columns of tokens."""
    columns = reading.sites[0].positions(batch.tokens.shape[1])
    found = np.zeros(batch.tokens.shape, dtype=bool)
    found[:, columns.start :: columns.step] = reading.wanted(batch).numpy()
    return found


def read_pass(
    reading: Reading, sae: SparseAutoencoder, one: Pass, first_row: int
) -> tuple[tuple[np.ndarray, ...], Int[Tensor, " active"], tuple[Float[Tensor, "vectors _"], ...]]:
    """Run the model and the encoder on one pass.

    Args:
        first_row: number of the pass's first row.

    Returns:
        ``(row, position, feature, value)`` of what fires; which vector each of these is of; the vectors of every site.
    """
    values = reading.read(one.batch).values
    codes = sparse_codes(sae, values[0].to(sae.W_enc.device))
    vector = codes.vector.cpu()
    row, position = (axis.astype(np.int32)[vector.numpy()] for axis in np.nonzero(one.wanted))
    feature = codes.feature.cpu().numpy().astype(np.int32)
    return (row + np.int32(first_row), position, feature, codes.value.cpu().numpy()), vector, values
