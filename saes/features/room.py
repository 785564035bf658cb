"""How much a folder may take, and what of that is left."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

from workbench.errors import InputError

SLACK = 1.25
"""What a pass is foreseen to take may be so many times the budget: only what is clearly too much ends it early."""


class Room:
    """A disk budget that a folder's files keep to, whole files and those that are being written.

    Args:
        folder: with all that is below it.
        budget: bytes; None for as many as the disk has.

    Raises:
        InputError: a budget below one byte.
    """

    def __init__(self, folder: Path, budget: int | None = None) -> None:
        if budget is not None and budget < 1:
            raise InputError(f"The disk budget is {budget} bytes; at least one is needed.")
        self.folder, self.budget = folder, budget

    def used(self) -> int:
        """Bytes of the folder's files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def check(self, more: int, what: str) -> None:
        """Refuse what would not fit. Raises InputError.

        Args:
            more: bytes that are about to be written.
        """
        if self.budget is not None and self.used() + more > self.budget:
            raise InputError(self._sentence(what))

    def limited(self, file: BinaryIO, what: str) -> BinaryIO | io.RawIOBase:
        """The file, which refuses to grow past what is left. Raises InputError there, from its ``write``."""
        if self.budget is None:
            return file
        # The file is a part of the folder, and still empty.
        return _Limited(file, self.budget - self.used(), self._sentence(what))

    def foresee(self, done: int, share: float, tokens: int) -> None:
        """Refuse a pass that is clearly not going to fit, while little of it is done.

        Args:
            done: bytes that the first part has taken.
            share: of the whole pass that it is.
            tokens: that it has read.

        Raises:
            InputError: says how many tokens would fit.
        """
        if self.budget is None or done / share <= SLACK * self.budget:
            return
        rest = max(0, self.budget - (self.used() - done))
        raise InputError(
            f"The whole pass takes about {_amount(done / share)}, and {_amount(self.budget)} are allowed: enough for "
            f"about tokens={int(tokens * rest / done / SLACK)}, in another folder. What is done is kept; the same call "
            "with a larger disk budget goes on from there."
        )

    def _sentence(self, what: str) -> str:
        assert self.budget is not None
        return (
            f"The disk budget of {_amount(self.budget)} for {self.folder} is used up: {what} does not fit. What is "
            "done is kept; the same call with a larger one goes on from there."
        )


class _Limited(io.RawIOBase):
    """A file that takes so many bytes and no more."""

    def __init__(self, file: BinaryIO, left: int, sentence: str) -> None:
        super().__init__()
        self._file, self._left, self._sentence = file, left, sentence

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._left -= size
        if self._left < 0:
            raise InputError(self._sentence)
        self._file.write(data)
        return size

    def flush(self) -> None:
        if not self._file.closed:  # this is called once more when nobody needs it any longer
            self._file.flush()

    def tell(self) -> int:
        return self._file.tell()


def _amount(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10**7 else f"{int(size)} bytes"
