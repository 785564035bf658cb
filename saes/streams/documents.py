"""Where text comes from, a passage at a time: lists, datasets, iterators, rows of token ids."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int

from workbench.errors import InputError
from workbench.saes.streams.order import Order

Cursor: TypeAlias = dict[str, int]
Content: TypeAlias = "str | Int[np.ndarray, ' _']"

PIECE = 2**17
"""Characters (bytes, of files) a passage has at most: no text is ever in memory as a whole."""

SAMPLED = 32
"""Documents of which the size of the others is estimated."""


@dataclass(frozen=True, eq=False)
class Passage:
    """A piece of a document, or all of it.

    Attributes:
        content: text, or token ids.
        document: the number of the document.
        cursor: where the passage begins, for `Documents.passages`.
        continues: whether it goes on with the document of the passage before it.
    """

    content: Content
    document: int
    cursor: Cursor
    continues: bool = False


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of the content, and how many times as much there is."""

    contents: list[Content]
    factor: float


class Documents(ABC):
    """A source of documents that can be read from any place on."""

    @abstractmethod
    def passages(self, order: Order, cursor: Cursor | None = None) -> Iterator[Passage]:
        """The passages of one epoch, in an order that depends on nothing else, from a cursor on.

        Raises:
            InputError: a document that is no text; a source that cannot be read, or not a second time.
        """

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What tells this source from others, as plain values."""

    def name(self, document: int) -> str:
        """A document's name, for people."""
        return f"document {document}"

    def sample(self) -> Sample | None:
        """A part of the content, for estimates; None where nobody knows how much there is."""
        return None


class Listed(Documents):
    """Documents that have numbers: those of a sequence, or the rows of a dataset.

    Args:
        fetch: gives the document of a number.
        about: what tells this source from others.
    """

    def __init__(self, count: int, fetch: Callable[[int], Any], about: dict[str, Any]) -> None:
        self.count, self._fetch, self._about = count, fetch, about

    def passages(self, order: Order, cursor: Cursor | None = None) -> Iterator[Passage]:
        start = {"n": 0, "at": 0} if cursor is None else cursor
        offset = start["at"]
        for n in range(start["n"], self.count):
            number = order.of(n, self.count)
            yield from passages_of(self.fetch(number), number, {"n": n}, offset)
            offset = 0

    def fetch(self, number: int) -> Content:
        """One document. Raises InputError where it is none."""
        return as_content(self._fetch(number), self.name(number))

    def about(self) -> dict[str, Any]:
        return {**self._about, "documents": self.count}

    def sample(self) -> Sample | None:
        numbers = sorted({int(n) for n in np.linspace(0, self.count - 1, SAMPLED)}) if self.count else []
        contents = [self.fetch(number) for number in numbers]
        return Sample(contents, self.count / max(1, len(numbers)))


class Iterated(Documents):
    """Documents that come one after the other, and can only be counted off.

    Args:
        begin: gives an iterator over the documents from a number on.
        about: what tells this source from others.
    """

    def __init__(self, begin: Callable[[int], Iterator[Any]], about: dict[str, Any]) -> None:
        self._begin, self._about = begin, about

    def passages(self, order: Order, cursor: Cursor | None = None) -> Iterator[Passage]:
        start = {"n": 0, "at": 0} if cursor is None else cursor
        offset = start["at"]
        for number, document in enumerate(self._begin(start["n"]), start["n"]):
            yield from passages_of(as_content(document, self.name(number)), number, {"n": number}, offset)
            offset = 0

    def about(self) -> dict[str, Any]:
        return dict(self._about)


def passages_of(content: Content, document: int, cursor: Cursor, start: int = 0) -> Iterator[Passage]:
    """A document in pieces, from a character on; token ids are one piece."""
    if not isinstance(content, str):
        yield Passage(content, document, {**cursor, "at": 0})
        return
    while start < len(content):
        stop = min(start + PIECE, len(content))
        if stop < len(content):
            stop = _between_words(content, start, stop)
        yield Passage(content[start:stop], document, {**cursor, "at": start}, continues=start > 0)
        start = stop


def _between_words(text: str, start: int, stop: int) -> int:
    """The last place up to `stop` where white space begins: tokenizers seldom join across it. Else `stop`."""
    for at in range(stop, start + 1, -1):
        if text[at].isspace() and not text[at - 1].isspace():
            return at
    return stop


def as_content(document: Any, name: str) -> Content:
    """A document as text that can be encoded, or as token ids.

    Raises:
        InputError: it is neither.
    """
    if isinstance(document, str):
        try:
            document.encode()
        except UnicodeEncodeError:  # half of a surrogate pair stands for no character, and no tokenizer takes it
            return document.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return document
    if isinstance(document, torch.Tensor):
        document = document.cpu().numpy()
    if isinstance(document, np.ndarray | Sequence) and not isinstance(document, bytes | bytearray):
        ids = np.asarray(document if len(document) else np.empty(0, np.int64))
        if ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer):
            return ids.astype(np.int64)
    raise InputError(f"{name[:1].upper()}{name[1:]} is {type(document).__name__}; a text or a row of ids is needed.")


def listed(documents: Sequence[Any] | np.ndarray | torch.Tensor) -> Listed:
    """A list of texts, or of rows of token ids. Raises InputError for an empty one."""
    count = len(documents)
    if not count:
        raise InputError("The source holds no documents: the list is empty.")
    digest = hashlib.sha256()
    for number in sorted({int(n) for n in np.linspace(0, count - 1, SAMPLED)}):
        content = as_content(documents[number], f"document {number}")
        digest.update(content.encode() if isinstance(content, str) else content.tobytes())
    return Listed(count, lambda number: documents[number], {"kind": "list", "sample": digest.hexdigest()[:16]})


def iterated(documents: Iterable[Any] | Callable[[], Iterable[Any]]) -> Iterated:
    """Anything that can be iterated over; what can only be gone through once can only be read once."""
    if callable(documents):
        return Iterated(lambda skip: islice(iter(documents()), skip, None), {"kind": "iterator"})
    once = iter(documents) is documents
    begun: list[bool] = []

    def begin(skip: int) -> Iterator[Any]:
        if once and begun:
            raise InputError(
                "This iterator was begun before and cannot begin again; give a function that makes one, such as a "
                "generator function without its brackets."
            )
        begun.append(True)
        return islice(iter(documents), skip, None)

    return Iterated(begin, {"kind": "iterator"})
