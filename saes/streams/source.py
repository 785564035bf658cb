"""Text of any source as windows of tokens, in an order that a seed decides, from any place on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.streams.datasets import DatasetTexts, is_dataset
from workbench.saes.streams.documents import Content, Documents, Passage, iterated, listed
from workbench.saes.streams.files import TextFiles
from workbench.saes.streams.order import Order
from workbench.windows import beginning

Position: TypeAlias = dict[str, Any]
Ids: TypeAlias = "Int[np.ndarray, ' tokens']"

STRETCH = 16
"""So many passes' windows are sorted by length together, so that short ones share a pass and padding is rare."""


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Windows of tokens for one forward pass, each from its first token on, filled up on the right.

    A causal model that is run without a mask gives each token what it gives it without the filling.

    Attributes:
        tokens: token ids.
        text: which of them are tokens of a text: not what fills up, nor what marks a beginning or an end.
        lengths: tokens a window has before what fills it up.
        document: the document each comes from, -1 for what fills up.
        position: the place of each among the tokens of its document, -1 for what is not of a document.
        after: where the source goes on after these windows, as plain values.
    """

    tokens: Int[Tensor, "windows time"]
    text: Bool[Tensor, "windows time"]
    lengths: Int[Tensor, " windows"]
    document: Int[Tensor, "windows time"]
    position: Int[Tensor, "windows time"]
    after: Position


@dataclass(frozen=True, eq=False)
class _Window:
    ids: Ids
    text: Bool[np.ndarray, " tokens"]
    document: Ids
    position: Ids


@dataclass(frozen=True, eq=False)
class _Part:
    """A passage's tokens, and which of its document they are."""

    epoch: int
    passage: Passage
    ids: Ids
    text: Bool[np.ndarray, " tokens"]
    before: int
    skip: int

    def at(self, token: int) -> Position:
        return {"epoch": self.epoch, "passage": self.passage.cursor, "before": self.before, "token": token, "passes": 0}


class TextSource:
    """Texts cut into windows that do not overlap; every token is in one of them, and nothing is kept in memory.

    Args:
        content: a path or several (`TextFiles`); texts or rows of token ids, in a list, an array or an iterator; a
            function that makes an iterator; a Hugging Face dataset (`DatasetTexts`); or any `Documents`. A string alone
            is a path, unless it has several lines or more than 255 characters: then it is one text.
        length: tokens a window, those that mark its beginning included.
        bos: begin every window with the tokenizer's beginning-of-text token.
        pack: let windows run on from a document into the next, an end-of-text token between them, as language models
            are trained. Without, no window holds two documents, and the last of each is as long as there is text.
        seed: of the order of the documents; None keeps it. What is iterated comes as it comes.
        epochs: how often the documents are read, each time in another order; None for ever.

    Raises:
        InputError: no such content; a number out of range.
    """

    def __init__(
        self,
        content: Any,
        length: int = 128,
        *,
        bos: bool = False,
        pack: bool = False,
        seed: int | None = 0,
        epochs: int | None = 1,
    ) -> None:
        if length < 2 + bos:
            raise InputError(f"length is {length}; windows have at least {2 + bos} tokens.")
        if epochs is not None and epochs < 1:
            raise InputError(f"epochs is {epochs}; texts are read at least once, and for ever with None.")
        self.documents = _documents(content)
        self.length, self.bos, self.pack, self.seed, self.epochs = length, bos, pack, seed, epochs

    def __repr__(self) -> str:
        about = self.documents.about()
        count = f"{about['documents']} documents" if "documents" in about else "documents one by one"
        return f"TextSource({about['kind']}: {count}, windows of {self.length} tokens)"

    def about(self) -> dict[str, Any]:
        """What tells this source from others, as plain values."""
        options = {name: getattr(self, name) for name in ("length", "bos", "pack", "seed", "epochs")}
        return {**self.documents.about(), **options}

    def name(self, document: int) -> str:
        """A document's name, for people."""
        return self.documents.name(document)

    def batches(self, model: HookedModel, windows: int = 16, position: Position | None = None) -> Iterator[TokenBatch]:
        """Windows for forward passes, some at a time, from a position on.

        They come in the order of their documents, but for those of `STRETCH` passes, of which the longest come first.

        Args:
            windows: how many at a time.
            position: what a batch before had for `after`, in a run with the same settings; None for the start.

        Raises:
            InputError: no tokenizer, or none with the marks that are asked for; windows longer than the model takes; a
                source without a single token; see `Documents.passages` for the rest.
        """
        if windows < 1:
            raise InputError(f"windows is {windows}; at least one window a forward pass is needed.")
        if model.cfg.n_ctx is not None and self.length > model.cfg.n_ctx:
            raise InputError(
                f"Windows of {self.length} tokens are too long: {model.cfg.model_name} has {model.cfg.n_ctx} positions."
            )
        passes = 0 if position is None else int(position["passes"])
        start: Position = {"passes": 0} if position is None else {**position, "passes": 0}
        held: list[_Window] = []
        end = start
        for window, end in self._windows(model, position):
            held.append(window)
            if len(held) == STRETCH * windows:
                yield from self._passes(model, held, windows, start, end, passes)
                held, start, passes = [], end, 0
        yield from self._passes(model, held, windows, start, end, passes)

    def estimate_tokens(self, model: HookedModel) -> int | None:
        """About how many tokens of text there are in all epochs; None where nobody knows before they are read."""
        sample = self.documents.sample()
        if sample is None or self.epochs is None:
            return None
        tokens = sum(len(self._ids(model, content)) for content in sample.contents)
        return round(tokens * sample.factor * self.epochs)

    def _windows(self, model: HookedModel, position: Position | None) -> Iterator[tuple[_Window, Position]]:
        """Every window, and where the next one begins."""
        front = beginning(model, self.bos)
        between = self._separator(model) if self.pack else None
        room = self.length - len(front)
        held: list[_Window] = []
        size = 0
        part = None
        for part in self._parts(model, position):
            if size and not part.passage.continues and between is not None and part.skip == 0:
                held.append(_marks([between], part.passage.document))
                size += 1
            start = part.skip
            while start < len(part.ids) or size == room:
                if size == room:
                    yield _joined(front, held), part.at(start)
                    held, size = [], 0
                    continue
                stop = min(start + room - size, len(part.ids))
                held.append(_cut(part, start, stop))
                size, start = size + stop - start, stop
            if size and not self.pack:
                yield _joined(front, held), part.at(start)
                held, size = [], 0
        if size and part is not None:
            yield _joined(front, held), part.at(len(part.ids))

    def _parts(self, model: HookedModel, position: Position | None) -> Iterator[_Part]:
        """The tokens of every passage of every epoch that has any."""
        at = position if position is not None and "epoch" in position else None
        epoch = 0 if at is None else int(at["epoch"])
        while self.epochs is None or epoch < self.epochs:
            cursor = None if at is None else at["passage"]
            before, skip = (0, 0) if at is None else (int(at["before"]), int(at["token"]))
            empty = at is None
            for passage in self.documents.passages(Order(self.seed, epoch), cursor):
                ids = self._ids(model, passage.content)
                before = before if passage.continues or cursor is not None else 0
                cursor = None
                if len(ids):
                    empty = False
                    yield _Part(epoch, passage, ids, self._is_text(model, passage.content, ids), before, skip)
                before, skip = before + len(ids), 0
            if empty:
                raise InputError("The source holds no text: there is not a single token in it.")
            epoch, at = epoch + 1, None

    def _passes(
        self, model: HookedModel, held: list[_Window], windows: int, start: Position, end: Position, skip: int
    ) -> Iterator[TokenBatch]:
        by_length = sorted(held, key=lambda window: -len(window.ids))
        chosen = [by_length[at : at + windows] for at in range(0, len(by_length), windows)]
        for number, some in enumerate(chosen):
            if number >= skip:
                last = number == len(chosen) - 1
                yield _batch(some, model.pad_id, end if last else {**start, "passes": number + 1})

    def _ids(self, model: HookedModel, content: Content) -> Ids:
        if not isinstance(content, str):
            return content
        # What looks like a special token in a text is text: a document cannot end itself, nor begin another.
        read = model.tokens.needed()(content, add_special_tokens=False, verbose=False, split_special_tokens=True)
        return np.asarray(read["input_ids"], dtype=np.int64)

    def _is_text(self, model: HookedModel, content: Content, ids: Ids) -> Bool[np.ndarray, " tokens"]:
        marks = () if isinstance(content, str) else _marking(model)
        return ~np.isin(ids, list(marks)) if marks else np.ones(len(ids), dtype=bool)

    def _separator(self, model: HookedModel) -> int:
        for name in ("eos_token_id", "bos_token_id"):
            found = getattr(model.tokenizer, name, None)
            if isinstance(found, int):
                return found
        raise InputError(
            f"{model.cfg.model_name} has no token that ends a text, so documents cannot be packed; leave pack=False."
        )


SourceLike: TypeAlias = (
    "TextSource | Documents | str | Path | Sequence[Any] | Tensor | np.ndarray | Iterable[Any]"
    " | Callable[[], Iterable[Any]]"
)


def as_source(content: SourceLike, length: int | None = None, seed: int | None = 0) -> TextSource:
    """A source as it is, or one made of its content.

    Raises:
        InputError: a length for a source that has another; see `TextSource`.
    """
    if not isinstance(content, TextSource):
        return TextSource(content, 128 if length is None else length, seed=seed)
    if length not in (None, content.length):
        raise InputError(f"This source has windows of {content.length} tokens, not {length}; say it where it is made.")
    return content


def _documents(content: Any) -> Documents:
    if isinstance(content, Documents):
        return content
    if isinstance(content, str | Path):
        # A string is the path of a file or folder, but for one that no file is called by.
        is_text = isinstance(content, str) and (len(content) > 255 or "\n" in content)
        return listed([content]) if is_text else TextFiles(content)
    if is_dataset(content):
        return DatasetTexts(content)
    if isinstance(content, Tensor | np.ndarray):
        if content.ndim != 2:
            raise InputError(f"Rows of token ids are [rows, time], not {[*content.shape]}.")
        return listed(content)
    if isinstance(content, list | tuple):
        return TextFiles(content) if content and all(isinstance(one, Path) for one in content) else listed(content)
    if callable(content) or isinstance(content, Iterable):
        return iterated(content)
    raise InputError(f"{type(content).__name__} is no source of text; give paths, texts, a dataset or token ids.")


def _marking(model: HookedModel) -> set[int]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id")
    found = (getattr(model.tokenizer, name, None) for name in names)
    return {one for one in found if isinstance(one, int)}


def _cut(part: _Part, start: int, stop: int) -> _Window:
    ids = part.ids[start:stop]
    first = part.before + start
    document = np.full(len(ids), part.passage.document, dtype=np.int64)
    return _Window(ids, part.text[start:stop], document, np.arange(first, first + len(ids)))


def _marks(ids: Sequence[int], document: int) -> _Window:
    """Tokens that no text holds."""
    none = np.full(len(ids), -1, dtype=np.int64)
    return _Window(np.asarray(ids, dtype=np.int64), np.zeros(len(ids), dtype=bool), np.full(len(ids), document), none)


def _joined(front: Sequence[int], held: Sequence[_Window]) -> _Window:
    every = [_marks(front, int(held[0].document[0])), *held] if front else list(held)
    if len(every) == 1:
        return every[0]
    return _Window(
        np.concatenate([one.ids for one in every]),
        np.concatenate([one.text for one in every]),
        np.concatenate([one.document for one in every]),
        np.concatenate([one.position for one in every]),
    )


def _batch(windows: Sequence[_Window], pad: int, after: Position) -> TokenBatch:
    lengths = [len(window.ids) for window in windows]
    shape = (len(windows), max(lengths))
    tokens, document, position = (np.full(shape, fill, dtype=np.int64) for fill in (pad, -1, -1))
    text = np.zeros(shape, dtype=bool)
    for row, window in enumerate(windows):
        here = slice(0, lengths[row])
        tokens[row, here], text[row, here] = window.ids, window.text
        document[row, here], position[row, here] = window.document, window.position
    return TokenBatch(
        torch.from_numpy(tokens),
        torch.from_numpy(text),
        torch.tensor(lengths),
        torch.from_numpy(document),
        torch.from_numpy(position),
        after,
    )
