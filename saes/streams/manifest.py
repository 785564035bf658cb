"""What a folder of activations holds: one file of JSON beside the shards."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.errors import InputError, LoadError
from workbench.report.files import replacing, write_atomically

FORMAT = "workbench-activations-1"
MANIFEST = "manifest.json"
BASES = "bases.safetensors"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Shard(BaseModel):
    """One file of rows.

    Attributes:
        file: its name in the folder.
        rows: how many there are.
        bytes: its size.
        sha256: of the file.
        after: where the text goes on after its last row: a position of the source, and rows of its pass to skip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    bytes: int
    sha256: str
    after: dict[str, Any]


class Manifest(BaseModel):
    """What a folder holds.

    Attributes:
        format: `FORMAT`.
        about: model, weights, sites, text and options, as `Reading.about` says them.
        names: of the tensors that hold the rows of each site, in every shard.
        dtype: of the rows.
        rows_per_shard: of every shard but the last.
        rows: at most so many were asked for.
        finished: whether all that was asked for is there.
        shards: in the order of the text.
    """

    model_config = ConfigDict(extra="forbid")

    format: str = FORMAT
    about: dict[str, Any]
    names: list[str]
    dtype: str
    rows_per_shard: int
    rows: int | None = None
    finished: bool = False
    shards: list[Shard] = []

    @property
    def total(self) -> int:
        """Rows that are there."""
        return sum(shard.rows for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def text(self) -> str:
        """What the file holds, in ASCII."""
        return json.dumps(self.model_dump(), indent=1) + "\n"

    def save(self, folder: Path) -> None:
        """Write it, all at once or not at all. Raises InputError where that cannot be done."""
        write_atomically(folder / MANIFEST, self.text())


def read_manifest(folder: Path) -> Manifest:
    """What a folder holds.

    Raises:
        LoadError: there is none, or it is no manifest of activations; names the file.
    """
    path = folder / MANIFEST
    try:
        found = Manifest.model_validate_json(path.read_text("utf-8"))
    except OSError as error:
        raise LoadError(f"{folder} holds no activations: {path.name} cannot be read ({error.strerror}).") from error
    except (ValidationError, ValueError) as error:
        first = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        raise LoadError(f"{path} is no manifest of activations: {first}.") from error
    each = (found.about.get("sites"), found.about.get("widths"))
    whole = all(isinstance(one, list) and len(one) == len(found.names) for one in each)
    if found.format != FORMAT or found.dtype not in DTYPES or not found.names or not whole:
        raise LoadError(f"{path} is no manifest of activations of the format {FORMAT}.")
    for shard in found.shards:
        if Path(shard.file).name != shard.file:
            raise LoadError(f"{path} names a shard outside its folder: {shard.file!r}.")
    return found


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is there in full or not at all, before anything else is written that says it is.

    Raises:
        OSError: as the disk says; nothing of the file is left.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Hold a folder for one writer. Raises InputError while another process writes there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"Another process is writing to {folder}; wait for it or choose another folder."
            ) from error
        yield
    finally:
        os.close(handle)  # which lets go of the lock
