"""Files that are there in full or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from workbench.errors import InputError


def check_writable(path: Path) -> None:
    """Refuse, before the work is done, a path that could not be written after it.

    Raises:
        InputError: the path is a directory, or its folder does not exist or cannot be written to.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise InputError(f"{path} is a directory; name a file in it.")
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; create it or choose another place for {path.name}.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The folder {folder} cannot be written to; choose another place for {path.name}.")


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text through a temporary file in the same folder, flushed to disk and renamed over `path`.

    Raises:
        InputError: the file cannot be written; what was at `path` before is still there.
    """
    check_writable(path)
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a report gets the permissions that any new file of this user gets.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{path} could not be written: {error.strerror or error}.") from error
        raise
