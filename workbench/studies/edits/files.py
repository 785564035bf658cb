"""Files that kinds of a study read: found once, and told by what they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.studies.schema.paths import inside

if TYPE_CHECKING:
    from workbench.studies.schema.study import Study


def located(study: Study, base: Path) -> Study:
    """The study with the files of its edits as absolute paths, each with a digest of its content.

    It is what edits are made of and what workers get; the study file itself keeps its relative paths.

    Args:
        base: the folder of the study file.

    Raises:
        InputError: a file is missing, lies outside the folder, or is not the one that the study says it is.
    """
    edits = [
        entry.model_copy(update={"sites": entry.sites.located(base), "method": entry.method.located(base)})
        for entry in study.edits
    ]
    return study.model_copy(update={"edits": edits})


def found(base: Path, path: Path, known: str | None) -> tuple[Path, str]:
    """Where a file (or a folder of files) of a study lies, and 128 bits of what it holds.

    Args:
        known: the digest that the study gives it, if it does.

    Raises:
        InputError: there is none, or it holds something else.
    """
    place = path if path.is_absolute() and known is not None else inside(base, path)
    if not place.exists():
        raise InputError(f"There is no {path} in {base}.")
    digest = content_digest(place)
    if known not in (None, digest):
        raise InputError(f"{place} has changed: its digest is {digest}, and the study says {known}.")
    return place, digest


def content_digest(place: Path) -> str:
    """128 bits of a file, or of the names and contents of the files right in a folder."""
    total = hashlib.blake2b(digest_size=16)
    files = sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
    for file in files:
        if place.is_dir():
            total.update(file.name.encode("utf-8") + b"\0")
        with file.open("rb") as handle:
            total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()
