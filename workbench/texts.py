"""Running text from a file, or from the files of a folder."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import InputError


def named_texts(place: Path) -> dict[str, str]:
    """Text of a file, or of every ``*.txt`` in a folder and its folders, by name and in that order; no blank ones.

    Raises:
        InputError: nothing is there, it cannot be read or is no UTF-8 text, or all of it is blank.
    """
    files = sorted(file for file in place.rglob("*.txt") if file.is_file()) if place.is_dir() else [place]
    if not files:
        raise InputError(f"There is no *.txt in {place} or below.")
    found = {str(file.relative_to(place)) if file != place else file.name: read_utf8(file) for file in files}
    kept = {name: text for name, text in found.items() if text.strip()}
    if not kept:
        raise InputError(f"{place} holds no text.")
    return kept


def read_utf8(file: Path) -> str:
    """A file's text. Raises InputError where there is none, or it is no UTF-8."""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}).") from error
    except (OSError, ValueError) as error:
        # A path can be refused before the disk is asked: one with a null byte in it.
        raise InputError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
