"""Text files as documents, read in pieces from any byte on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from workbench.errors import InputError
from workbench.saes.streams.documents import (
    PIECE,
    SAMPLED,
    Content,
    Cursor,
    Documents,
    Passage,
    Sample,
    as_content,
    passages_of,
)
from workbench.saes.streams.order import Order

KINDS = ("*.txt", "*.jsonl")
MARK = b"\xef\xbb\xbf"
BITS = 32  # of a document's number are its place in its file, the others the number of the file


class TextFiles(Documents):
    """Files of UTF-8 text: a document a file, or several with something between them, or one a line of JSON.

    Args:
        paths: a file, a folder (its ``*.txt`` and ``*.jsonl`` and those of its folders), or several of them.
        separator: what stands between the documents of a file, such as ``"<|endoftext|>"`` or a line end.
        column: the key of the text in a line of a ``.jsonl`` file; token ids may stand there as well.

    Raises:
        InputError: nothing is there; an empty separator.
    """

    def __init__(
        self, paths: str | Path | Iterable[str | Path], separator: str | None = None, column: str = "text"
    ) -> None:
        places = [paths] if isinstance(paths, str | Path) else list(paths)
        if separator == "":
            raise InputError("An empty separator stands everywhere; None keeps a file in one piece.")
        self.files = [file for place in places for file in _files(Path(place))]
        if not self.files:
            raise InputError("No files were named.")
        self.separator, self.column = separator, column
        self._sizes = [_size(file) for file in self.files]

    def passages(self, order: Order, cursor: Cursor | None = None) -> Iterator[Passage]:
        start = {"n": 0} if cursor is None else cursor
        within: Cursor | None = cursor
        for n in range(start["n"], len(self.files)):
            number = order.of(n, len(self.files))
            yield from self._of_file(number, n, within)
            within = None

    def about(self) -> dict[str, Any]:
        listing = "\n".join(f"{file.name} {size}" for file, size in zip(self.files, self._sizes, strict=True))
        return {
            "kind": "files",
            "documents": len(self.files),
            "files": hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()[:16],
            "separator": self.separator,
            "column": self.column,
        }

    def name(self, document: int) -> str:
        file, place = divmod(document, 1 << BITS)
        name = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in self.files[file].name)
        if self.files[file].suffix == ".jsonl":
            return f"{name} line {place + 1}"
        return name if self.separator is None else f"{name} document {place + 1}"

    def sample(self) -> Sample | None:
        chosen = sorted({int(n) for n in np.linspace(0, len(self.files) - 1, SAMPLED)})
        contents: list[Content] = []
        read = 0
        for number in chosen:
            seen = 0
            for passage in self._of_file(number, number, None):
                contents.append(passage.content)
                seen += len(passage.content.encode()) if isinstance(passage.content, str) else len(passage.content)
                if seen >= PIECE // 4:
                    break
            read += min(self._sizes[number], seen)
        return Sample(contents, sum(self._sizes) / max(1, read))

    def _of_file(self, number: int, n: int, cursor: Cursor | None) -> Iterator[Passage]:
        file = self.files[number]
        try:
            with file.open("rb") as handle:
                read = self._lines if file.suffix == ".jsonl" else self._texts
                yield from read(file, handle, number << BITS, {"n": n}, cursor)
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error

    def _texts(
        self, file: Path, handle: BinaryIO, first: int, here: Cursor, cursor: Cursor | None
    ) -> Iterator[Passage]:
        at, place, continues = (0, 0, False) if cursor is None else (cursor["byte"], cursor["document"], False)
        continues = cursor is not None and bool(cursor["continues"])
        handle.seek(at)
        separator = None if self.separator is None else self.separator.encode()
        for raw, after, ends in _pieces(handle, separator):
            skipped = len(MARK) if at == 0 and raw.startswith(MARK) else 0
            text = _decoded(raw[skipped:], file, at + skipped)
            if text:
                where = {**here, "byte": at, "document": place, "continues": int(continues)}
                yield Passage(text, first + place, where, continues)
            at += after
            place, continues = (place + 1, False) if ends else (place, True)

    def _lines(
        self, file: Path, handle: BinaryIO, first: int, here: Cursor, cursor: Cursor | None
    ) -> Iterator[Passage]:
        at, place, offset = (0, 0, 0) if cursor is None else (cursor["byte"], cursor["document"], cursor["at"])
        handle.seek(at)
        while line := handle.readline():
            if line.strip():
                content = self._column(_decoded(line, file, at), f"{file.name} line {place + 1}")
                yield from passages_of(content, first + place, {**here, "byte": at, "document": place}, offset)
            at, place, offset = at + len(line), place + 1, 0

    def _column(self, line: str, name: str) -> Content:
        try:
            row = json.loads(line.removeprefix("\ufeff"))
        except ValueError as error:
            raise InputError(f"{name} is no JSON: {error}.") from error
        if not isinstance(row, dict) or self.column not in row:
            has = f"it has {', '.join(map(str, row))}" if isinstance(row, dict) else "it is no object"
            raise InputError(f"{name} has no {self.column!r}: {has}.")
        return as_content(row[self.column], name)


def _files(place: Path) -> list[Path]:
    try:
        if place.is_dir():
            found = sorted({file for kind in KINDS for file in place.rglob(kind) if file.is_file()})
            if not found:
                raise InputError(f"There is no {' or '.join(KINDS)} in {place} or below.")
            return found
        if place.is_file():
            return [place]
    except (OSError, ValueError) as error:  # a path can be refused before the disk is asked: one with a null byte
        raise InputError(f"{str(place)!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    raise InputError(f"There is no file or folder {str(place)!r}; a text goes in a list, as [text].")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error


def _pieces(handle: BinaryIO, separator: bytes | None) -> Iterator[tuple[bytes, int, bool]]:
    """Bytes of at most `PIECE` and a word, how far they reach with the separator, whether their document ends there."""
    data, start, done = b"", 0, False
    room = PIECE + 1 + (0 if separator is None else len(separator))
    while True:
        if not done and len(data) - start < room:
            more = handle.read(2 * PIECE)
            data, start, done = data[start:] + more, 0, not more
            continue
        if start == len(data):
            return
        found = -1 if separator is None else data.find(separator, start, start + room)
        if found >= 0 and separator is not None:
            yield data[start:found], found - start + len(separator), True
            start = found + len(separator)
            continue
        stop = len(data) if len(data) - start <= PIECE else _between_words(data, start, start + PIECE)
        yield data[start:stop], stop - start, stop == len(data) and done
        start = stop


def _between_words(data: bytes, start: int, stop: int) -> int:
    """The last place up to `stop` where white space begins, else where a character does."""
    for at in range(stop, start + 1, -1):
        if data[at] in b" \t\r\n" and data[at - 1] not in b" \t\r\n":
            return at
    while stop > start + 1 and data[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop


def _decoded(raw: bytes, file: Path, at: int) -> str:
    """Text with line ends as Python reads them."""
    try:
        return raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {at + error.start}).") from error
