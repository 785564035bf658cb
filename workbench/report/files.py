"""Files that are there in full or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to write to, at the end of the block flushed to disk and renamed over `path`.

    Raises:
        OSError: as the disk says. After any error in the block the file is gone, and what was at `path` still there.
    """
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; this one gets the permissions that any new file of this user gets.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text through a file that replaces `path`.

    Raises:
        InputError: the file cannot be written; what was at `path` before is still there.
    """
    check_writable(path)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror or error}.") from error
