"""Activations in files: a folder of shards that a killed run goes on with, and that no disk is filled by."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from workbench.errors import InputError, NotFiniteError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.streams.manifest import (
    BASES,
    DTYPES,
    FORMAT,
    FULL,
    MANIFEST,
    Manifest,
    Shard,
    read_manifest,
    write_file,
    writing_alone,
)
from workbench.saes.streams.reading import NotFiniteRowError, Reading, Rows, SiteLike, basis_of, first_not_finite
from workbench.saes.streams.shard_reader import Shards
from workbench.saes.streams.source import Position, SourceLike
from workbench.saes.streams.stream import differences

SHARD_BYTES = 2**26
SHARD_OVERHEAD = 1500
"""Bytes that a shard takes beside its rows, in its header and the manifest; the manifest takes as many itself."""

PLACES = ("document", "position")
PLACE_BYTES = 16
"""Bytes a row takes beside its vectors: two numbers that say which token of which document it is."""


def write_shards(
    model: HookedModel,
    source: SourceLike,
    site: SiteLike | Sequence[SiteLike],
    folder: Path | str,
    *,
    rows: int | None = None,
    rows_per_shard: int | None = None,
    dtype: torch.dtype = torch.float32,
    disk_budget: int | None = None,
    length: int | None = None,
    windows: int = 16,
    special: bool = False,
    drop_first: int = 0,
    seed: int | None = 0,
    progress: bool = False,
) -> Shards:
    """Write the activations of a text at some sites into a folder of safetensors files, in the order of the text.

    The same call goes on where an earlier one ended or was killed; at most one shard is computed again, and the files
    are the same as if it had never been interrupted. Each shard holds, beside the rows of every site, the ``document``
    and the ``position`` of every row's token.

    Args:
        rows: at most so many; None for all that the text gives.
        rows_per_shard: rows a file; None for files of about 64 MiB.
        dtype: float32, float16 or bfloat16.
        disk_budget: bytes that the folder may take.
        length, windows, special, drop_first, seed: as in `activation_stream`.
        progress: show a progress bar.

    Raises:
        InputError: more would be written than the budget or the disk allows; the disk is full after all; the folder
            holds something else, or another process writes there; see `Reading` for the rest.
        NotFiniteError: an activation is NaN or infinite, or too large for the dtype; names the shard, the row and the
            token. The shards before it are whole.
    """
    reading = Reading(
        model,
        source,
        site,
        length=length,
        windows=windows,
        special=special,
        drop_first=drop_first,
        device="cpu",
        seed=seed,
    )
    place = Path(folder)
    wanted = _manifest(reading, rows, rows_per_shard, dtype)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with writing_alone(place):
            for left in place.glob(".*.part"):  # of a run that was killed while it wrote
                left.unlink()
            _Writer(reading, place, _begun(place, wanted), disk_budget).write(progress)
    except OSError as error:
        raise InputError(f"{place} cannot be written to: {error.strerror or error}.") from error
    return Shards(place)


class _Writer:
    """The shards of one folder, one after the other."""

    def __init__(self, reading: Reading, folder: Path, manifest: Manifest, budget: int | None) -> None:
        self.reading, self.folder, self.manifest, self.budget = reading, folder, manifest, budget
        self.dtype = DTYPES[manifest.dtype]
        self._row_bytes = sum(reading.widths) * self.dtype.itemsize + PLACE_BYTES
        self._bases_bytes = 0
        self._skip = 0
        self._held = 0
        self._values: list[Tensor] = []
        self._places: list[Tensor] = []

    def write(self, progress: bool) -> None:
        """Write what is missing.

        Raises:
            InputError: see `write_shards`.
            NotFiniteError: see `write_shards`.
            OSError: the folder cannot be written to.
        """
        if self.manifest.finished:
            return
        expected = self._expected()
        self._check_room(expected)
        self._save_bases()
        self.manifest.save(self.folder)
        shape = self.manifest.rows_per_shard
        self._values = [torch.empty(shape, width, dtype=self.dtype) for width in self.reading.widths]
        self._places = [torch.empty(shape, dtype=torch.int64) for _ in range(2)]
        if self._left() != 0:
            passes = None if expected is None else (expected - self.manifest.total) // self.reading.most_rows + 1
            self._write_all(progress, passes)
        self.manifest.finished = True
        self.manifest.save(self.folder)

    def _write_all(self, progress: bool, passes: int | None) -> None:
        at: Position | None = None
        if self.manifest.shards:
            after = self.manifest.shards[-1].after
            at, self._skip = after["at"], int(after["skip"])
        for rows in tracked(self._passes(at), progress, "writing activations", passes):
            start = self._skip
            while start < len(rows):
                stop = self._hold(rows, start)
                full = self._held == self.manifest.rows_per_shard
                if full or self._left() == 0:
                    self._flush({"at": at, "skip": stop} if stop < len(rows) else {"at": rows.after, "skip": 0})
                if self._left() == 0:
                    return
                start = stop
            at, self._skip = rows.after, 0
        if self._held:
            self._flush({"at": at, "skip": 0})

    def _passes(self, at: Position | None) -> Iterator[Rows]:
        """The passes from a position on; what is wrong with a row is told with the shard that it belongs to."""
        passes = self.reading.rows(at)
        while True:
            try:
                rows = next(passes, None)
            except NotFiniteRowError as error:
                number = self.manifest.total + self._held + error.row - self._skip
                raise NotFiniteError(self._refusal(error.what, number)) from error
            if rows is None:
                return
            yield rows

    def _left(self) -> int | None:
        """Rows that are still to be gathered; None for all there are."""
        wanted = self.manifest.rows
        return None if wanted is None else max(0, wanted - self.manifest.total - self._held)

    def _hold(self, rows: Rows, start: int) -> int:
        """Keep rows from one on for the next shard, and say where those begin that are not kept."""
        left = self._left()
        room = self.manifest.rows_per_shard - self._held
        stop = min(len(rows), start + (room if left is None else min(room, left)))
        into = slice(self._held, self._held + stop - start)
        for kept, values in zip(self._values, rows.values, strict=True):
            kept[into] = values[start:stop]
        for kept, values in zip(self._places, (rows.document, rows.position), strict=True):
            kept[into] = values[start:stop]
        self._held += stop - start
        return stop

    def _flush(self, after: dict[str, Any]) -> None:
        """Write the rows that are kept as a shard.

        Raises:
            InputError: that would exceed the budget, or the disk is full.
        """
        manifest, number = self.manifest, len(self.manifest.shards)
        tensors = {name: kept[: self._held] for name, kept in zip(manifest.names, self._values, strict=True)}
        for name, values in tensors.items():
            row = first_not_finite(values)
            if row is not None:
                what = f"{name} of {manifest.about['model']} is too large for {manifest.dtype}"
                raise NotFiniteError(self._refusal(what, manifest.total + row))
        tensors |= {name: kept[: self._held] for name, kept in zip(PLACES, self._places, strict=True)}
        data = save(tensors, {"format": f"{FORMAT} shard {number}"})  # of two words the order would change by itself
        file = f"shard-{number:05d}.safetensors"
        digest = hashlib.sha256(data).hexdigest()
        shard = Shard(file=file, rows=self._held, bytes=len(data), sha256=digest, after=after)
        grown = manifest.model_copy(update={"shards": [*manifest.shards, shard]})
        if self.budget is not None and grown.bytes + len(grown.text()) + self._bases_bytes > self.budget:
            raise InputError(
                f"The disk budget of {_gb(self.budget)} is used up: {self._kept()} in {self.folder}; the same call "
                "with a larger one goes on from there."
            )
        try:
            write_file(self.folder / file, data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise InputError(
                f"The disk is full: {self._kept()} in {self.folder}; the same call goes on from there when there is "
                "room."
            ) from error
        self.manifest, self._held = grown, 0
        grown.save(self.folder)

    def _expected(self) -> int | None:
        """About how many rows there will be; None where nobody knows."""
        tokens = self.reading.source.estimate_tokens(self.reading.model)
        found = None if tokens is None else tokens // self.reading.every
        if self.manifest.rows is None or found is None:
            return self.manifest.rows if found is None else found
        return min(self.manifest.rows, found)

    def _check_room(self, expected: int | None) -> None:
        """Refuse, before the first row is read, what the budget or the disk has no room for."""
        if expected is None:
            return
        more = max(0, expected - self.manifest.total) * self._row_bytes
        shards = -(-expected // self.manifest.rows_per_shard)
        more += SHARD_OVERHEAD * (1 + shards - len(self.manifest.shards))
        needed = self.manifest.bytes + more
        width = sum(self.reading.widths)
        what = f"About {expected} rows of {width} numbers in {self.manifest.dtype} take {_gb(needed)}"
        if self.budget is not None and needed > self.budget:
            enough = max(0, self.budget - SHARD_OVERHEAD * (1 + shards)) // self._row_bytes
            raise InputError(f"{what}, and {_gb(self.budget)} are allowed: enough for rows={enough}.")
        free = shutil.disk_usage(self.folder).free
        if more > free:
            raise InputError(f"{what}, and the disk has room for {_gb(free)} more: take fewer rows.")

    def _save_bases(self) -> None:
        sites = zip(self.manifest.names, self.reading.sites, strict=True)
        bases = {name: basis_of(site) for name, site in sites if site.basis is not None}
        if bases:
            data = save(bases)
            self._bases_bytes = len(data)
            write_file(self.folder / BASES, data)

    def _refusal(self, what: str, number: int) -> str:
        shard, row = divmod(number, self.manifest.rows_per_shard)
        return f"{what}, which would be row {row} of shard {shard}; {self._kept()} in {self.folder}."

    def _kept(self) -> str:
        count = len(self.manifest.shards)
        return (
            f"{count} whole shard{'s' * (count != 1)} with {self.manifest.total} rows {'are' if count != 1 else 'is'}"
        )


def _manifest(reading: Reading, rows: int | None, rows_per_shard: int | None, dtype: torch.dtype) -> Manifest:
    """An empty one. Raises InputError for numbers out of range or another dtype."""
    names = [str(site) for site in reading.sites]
    if len(set(names)) < len(names):
        raise InputError(f"Each site is written once: {', '.join(names)}.")
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"dtype is {name}; activations are written in {', '.join(DTYPES)}.")
    if rows_per_shard is None:
        rows_per_shard = max(1, SHARD_BYTES // (sum(reading.widths) * dtype.itemsize + PLACE_BYTES))
    if rows_per_shard < 1 or (rows is not None and rows < 1):
        raise InputError(f"rows is {rows} and rows_per_shard {rows_per_shard}; at least one row is written.")
    return Manifest(about=reading.about(), names=names, dtype=name, rows_per_shard=rows_per_shard, rows=rows)


def _begun(folder: Path, wanted: Manifest) -> Manifest:
    """What is there already, to go on with.

    Raises:
        InputError: the folder holds other activations, or shards that nothing is known of.
    """
    if not (folder / MANIFEST).exists():
        stray = sorted(folder.glob("shard-*.safetensors"))
        if stray:
            raise InputError(f"{folder} holds {stray[0].name} and no {MANIFEST}; choose an empty folder.")
        return wanted
    there = read_manifest(folder)
    fixed = {"dtype", "rows_per_shard"}
    was, now = ({**one.about, **one.model_dump(include=fixed)} for one in (there, wanted))
    changed = list(differences(was, now))
    if changed:
        raise InputError(f"{folder} holds other activations: {'; '.join(changed[:3])}; choose another folder.")
    if there.finished and there.rows == wanted.rows:
        return there
    there.rows, there.finished = wanted.rows, False
    # A last shard that is not full ended another run, and is computed again.
    if there.shards and there.shards[-1].rows < there.rows_per_shard:
        there.shards.pop()
    if wanted.rows is not None and there.total > wanted.rows:
        raise InputError(f"{folder} holds {there.total} rows, more than the {wanted.rows} that are asked for now.")
    return there


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10**7 else f"{size} bytes"
