"""One runner a folder: a lock that the kernel frees when its holder dies, on a disk that can keep such promises."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import InputError

LOCK = "lock"

MOUNTS = Path("/proc/mounts")

_NETWORKED = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "gluster",
    "sshfs",
    "ocfs2",
    "gfs2",
)
"""How the types of file systems begin, after ``fuse.``, whose shared memory or locks end at the machine's border."""


@contextmanager
def running_alone(folder: Path) -> Iterator[None]:
    """Be the only one who runs the study of a folder, which is made if it is not there.

    Raises:
        InputError: another process runs it (which one, and since when, is said), the folder cannot be made, or it lies
            on a network file system, where SQLite's write-ahead log does not work.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_network(folder)
        # Appending: opening must not wipe what the holder has written about itself.
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written to: {error.strerror or error}.") from error
    with file:
        if not _taken(file.fileno()):
            raise InputError(f"The study in {folder} is running already: {holder(folder)}. One runner a study.")
        file.truncate(0)
        file.write(
            json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat()})
        )
        file.flush()
        yield


def is_running(folder: Path) -> bool:
    """Whether somebody runs the study of a folder now."""
    import fcntl

    try:
        file = (folder / LOCK).open("r", encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            # A shared lock, held for no time: two who ask at once do not take each other for a runner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def holder(folder: Path) -> str:
    """Who took the lock last, for people."""
    try:
        noted = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f"process {noted['pid']} on {noted['host']}, since {noted['since'][:19].replace('T', ' ')} UTC"
    except (OSError, ValueError, KeyError, TypeError):
        return "by a process that has not said its name yet"


def refuse_network(folder: Path, mounts: Path = MOUNTS) -> None:
    """Raises InputError where the folder lies on a network file system (as far as the system lists its mounts)."""
    kind = _file_system(folder, mounts)
    if kind.removeprefix("fuse.").startswith(_NETWORKED):
        raise InputError(
            f"{folder} lies on a network file system ({kind}), where SQLite's journal is not safe; "
            "give --out a folder on a local disk."
        )


def _file_system(folder: Path, mounts: Path) -> str:
    """The type of the file system that a folder lies on; empty where nobody says."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    place, found, deepest = folder.resolve(), "", -1
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].encode("latin-1", "replace").decode("unicode_escape"))  # spaces are written \040
        # Of two mounts at one place the later one is seen.
        if place.is_relative_to(point) and len(point.parts) >= deepest:
            found, deepest = fields[2], len(point.parts)
    return found


def _taken(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
