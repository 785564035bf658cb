"""Activations out of files: verified, shuffled across shards in bounded memory, resumable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from workbench.checkpoints import check_safetensors
from workbench.errors import InputError, LoadError, NotFiniteError
from workbench.saes.site import VectorSite
from workbench.saes.streams.blocks import Position
from workbench.saes.streams.manifest import BASES, DTYPES, Manifest, read_manifest, sha256_of
from workbench.saes.streams.order import Order
from workbench.saes.streams.reading import basis_word, first_not_finite
from workbench.saes.streams.stream import BATCH, BUFFER_BYTES, Batch, JointStream, ShuffledStream, VectorStream

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = 8
"""Shards that are open at a time, whose rows come mixed before they are shuffled."""

CHUNK_BYTES = 2**18
"""Rows are read so many bytes at a time: few enough that a block has chunks of many places, many enough for a disk."""


class Shards:
    """A folder of activations that `write_shards` wrote.

    Raises:
        LoadError: the folder holds none.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        self._verified: set[int] = set()

    def __repr__(self) -> str:
        manifest = self.manifest
        state = "" if manifest.finished else ", unfinished"
        return f"Shards({manifest.total} rows in {len(manifest.shards)} files of {self.folder}{state})"

    def __len__(self) -> int:
        return self.manifest.total

    @property
    def sites(self) -> list[VectorSite]:
        """Where the rows were read. Raises LoadError where a basis is missing or not the one that was read in."""
        path = self.folder / BASES
        found = []
        for name, about in zip(self.manifest.names, self.manifest.about["sites"], strict=True):
            basis = None
            if about["basis"] is not None:
                check_safetensors(path)
                with safe_open(str(path), framework="pt") as file:
                    basis = file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 - no dictionary
                if basis is None or basis_word(basis) != about["basis"]:
                    raise LoadError(f"{path} does not hold the basis that {name} was read in.")
            found.append(VectorSite(about["hook"], about["head"], about["every"], basis))
        return found

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers a row has, of each site."""
        return tuple(int(width) for width in self.manifest.about["widths"])

    def table(self) -> pd.DataFrame:
        """A row a shard: file, rows, bytes and sha256."""
        import pandas as pd

        columns = ["file", "rows", "bytes", "sha256"]
        return pd.DataFrame([shard.model_dump(include=set(columns)) for shard in self.manifest.shards], columns=columns)

    def verify(self, number: int | None = None) -> None:
        """Hold a shard, or all of them, to the checksums; each is read once.

        Raises:
            LoadError: a file is missing or is not what was written; names it.
        """
        for one in range(len(self.manifest.shards)) if number is None else [number]:
            if one in self._verified:
                continue
            shard = self.manifest.shards[one]
            path = self.folder / shard.file
            try:
                found = sha256_of(path)
            except OSError as error:
                raise LoadError(f"{path} cannot be read: {error.strerror}.") from error
            if found != shard.sha256:
                raise LoadError(
                    f"{path} is not what was written: its SHA-256 begins with {found[:12]}, and the manifest says "
                    f"{shard.sha256[:12]}."
                )
            check_safetensors(path)
            self._verified.add(one)

    def rows(self, number: int) -> dict[str, Tensor]:
        """A shard whole, verified: the rows by site, and the ``document`` and ``position`` of each row's token."""
        self.verify(number)
        with safe_open(str(self.folder / self.manifest.shards[number].file), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows of a shard.

    Attributes:
        values: of each site.
        after: where to go on.
    """

    values: tuple[Float[Tensor, "rows _"], ...]
    after: Position


class ShardFeed:
    """The rows of a folder, chunk by chunk: shards in shuffled order, some at a time, their chunks mixed.

    Args:
        seed: of the order.
        epochs: how often all rows come, each time in another order; None for ever.
        dtype, device: of the rows.

    Raises:
        InputError: there are no rows; a number out of range.
    """

    def __init__(
        self,
        shards: Shards,
        seed: int,
        epochs: int | None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not len(shards):
            raise InputError(f"{shards.folder} holds no rows yet.")
        if epochs is not None and epochs < 1:
            raise InputError(f"epochs is {epochs}; rows are read at least once, and for ever with None.")
        self.shards, self.seed, self.epochs = shards, seed, epochs
        self.widths, self.dtype, self.device = shards.widths, dtype, torch.device(device)
        itemsize = DTYPES[shards.manifest.dtype].itemsize
        self.chunk = max(1, CHUNK_BYTES // (sum(self.widths) * itemsize))

    @property
    def most_rows(self) -> int:
        """Rows a chunk has at most."""
        return self.chunk

    def about(self) -> dict[str, Any]:
        """What decides about the rows, as plain values."""
        checksums = [shard.sha256[:16] for shard in self.shards.manifest.shards]
        return {"shards": checksums, "seed": self.seed, "epochs": self.epochs}

    def rows(self, position: Position | None = None) -> Iterator[Chunk]:
        """The chunks from a position on.

        Raises:
            LoadError: a shard is missing or is not what was written.
            NotFiniteError: a row is NaN or infinite; names the shard and the row.
        """
        start = {"epoch": 0, "group": 0, "chunk": 0} if position is None else position
        epoch, group, number = int(start["epoch"]), int(start["group"]), int(start["chunk"])
        while self.epochs is None or epoch < self.epochs:
            groups = -(-len(self.shards.manifest.shards) // TOGETHER)
            while group < groups:
                for chunk in self._group(epoch, group, number):
                    number += 1
                    yield self._chunk(chunk, {"epoch": epoch, "group": group, "chunk": number})
                group, number = group + 1, 0
            epoch, group = epoch + 1, 0

    def _group(self, epoch: int, group: int, start: int) -> Iterator[tuple[int, int]]:
        """Shard and first row of every chunk of a group of shards, from one on, mixed."""
        order, count = Order(self.seed, epoch), len(self.shards.manifest.shards)
        places = range(group * TOGETHER, min((group + 1) * TOGETHER, count))
        chosen = [order.of(place, count) for place in places]
        every = [
            (shard, first)
            for shard in chosen
            for first in range(0, self.shards.manifest.shards[shard].rows, self.chunk)
        ]
        mixed = np.random.default_rng([self.seed, epoch, group]).permutation(len(every))
        for place in mixed[start:]:
            yield every[place]

    def _chunk(self, chunk: tuple[int, int], after: Position) -> Chunk:
        shard, first = chunk
        self.shards.verify(shard)
        about = self.shards.manifest.shards[shard]
        values: list[Tensor] = []
        with safe_open(str(self.shards.folder / about.file), framework="pt") as file:
            for name in self.shards.manifest.names:
                rows = file.get_slice(name)[first : first + self.chunk]
                wrong = first_not_finite(rows)
                if wrong is not None:
                    raise NotFiniteError(f"Row {first + wrong} of {about.file} is NaN or infinite at {name}.")
                # A copy: a slice would keep all of the file's tensor with it.
                values.append(rows.to(device=self.device, dtype=self.dtype, copy=True))
        return Chunk(tuple(values), after)


class _Reader(ShuffledStream[Batch]):
    """Rows of a folder as batches of one kind or the other."""

    def __init__(
        self,
        folder: Path | str,
        batch: int = BATCH,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        seed: int = 0,
        epochs: int | None = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        drop_last: bool = False,
    ) -> None:
        self.shards = Shards(folder)
        if isinstance(self, VectorStream) and len(self.shards.widths) > 1:
            raise InputError(f"{folder} holds {len(self.shards.widths)} sites; JointShardReader reads them together.")
        feed = ShardFeed(self.shards, seed, epochs, dtype, device)
        super().__init__(feed, batch, buffer_bytes, seed, drop_last)


class ShardReader(_Reader[Tensor], VectorStream):
    """Shuffled batches of the rows of a folder, as `ActivationStream` gives them, with `state` and `resume`.

    Args:
        folder: what `write_shards` wrote, of one site.
        batch, buffer_bytes, drop_last: as in `activation_stream`.
        seed: of the order of shards, of chunks of rows, and of rows.
        epochs: how often all rows come; None for ever.
        dtype, device: of the batches.

    Raises:
        LoadError: the folder holds no activations.
        InputError: it holds several sites (`JointShardReader`) or no rows; a number out of range.
    """


class JointShardReader(_Reader[tuple[Tensor, ...]], JointStream):
    """As `ShardReader`, of several sites: batches are tuples, row by row of the same token."""
