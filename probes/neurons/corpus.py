"""Running text as windows of one length, with the place of every token in its text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.windows import beginning, cuts


@dataclass(frozen=True, eq=False)
class Corpus:
    """Windows of text; `read_corpus` makes one of texts, `token_corpus` one of token ids.

    Attributes:
        tokens: token ids; every window starts afresh.
        first: columns at the start of every window that are not text (a beginning-of-text token) and not counted.
        texts: the texts that the windows were cut from, empty for bare tokens.
        text_of: which text each window comes from.
        spans: the characters ``start .. stop - 1`` of that text that each token stands for; None for bare tokens.
    """

    tokens: Int[Tensor, "windows time"]
    first: int = 0
    texts: tuple[str, ...] = ()
    text_of: Int[np.ndarray, " windows"] | None = None
    spans: Int[np.ndarray, "windows time 2"] | None = None

    def __repr__(self) -> str:
        windows, time = self.tokens.shape
        return f"Corpus({windows} windows of {time} tokens)"

    @property
    def counted(self) -> Int[Tensor, "windows counted"]:
        """The tokens without the columns that are not text."""
        return self.tokens[:, self.first :]


@checked_call
def read_corpus(
    model: HookedModel, texts: str | Sequence[str], length: int = 256, *, bos: bool = False, most: int | None = None
) -> Corpus:
    """Cut texts into windows of `length` tokens, as `text_windows` does, and keep which characters each token is.

    Where no text is that long, the longest text decides the length.

    Args:
        length: tokens a window, the beginning-of-text token included.
        bos: start every window with the tokenizer's beginning-of-text token.
        most: at most that many windows, evenly spread.

    Raises:
        InputError: no text, a tokenizer that does not say where its tokens lie or that lacks the token for `bos`, a
            length out of range.
    """
    listed = [texts] if isinstance(texts, str) else list(texts)
    tokenizer = model.tokens.needed()
    prefix = beginning(model, bos)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"The tokenizer of {model.cfg.model_name} does not say which characters a token stands for.")
    if length < 2 + bos:
        raise InputError(f"Windows of {length} tokens are too short; at least {2 + bos} are needed.")
    ids: list[list[int]] = []
    places: list[list[tuple[int, int]]] = []
    for text in listed:
        read = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
        ids.append(list(read["input_ids"]))
        places.append(list(read["offset_mapping"]))
    longest = max((len(row) for row in ids), default=0)
    if longest < 2:
        raise InputError("There is no text of at least two tokens.")
    width = min(length - bos, longest)
    starts = [(number, at) for number, row in enumerate(ids) for at in cuts(len(row), width)]
    if most is not None:
        if most < 1:
            raise InputError(f"{most} windows are none; at least 1 is needed.")
        spread = np.linspace(0, len(starts) - 1, min(most, len(starts)))
        starts = [starts[i] for i in sorted({int(i) for i in spread})]
    tokens = torch.tensor([[*prefix, *ids[number][at : at + width]] for number, at in starts])
    spans = np.array([[*([(0, 0)] * len(prefix)), *places[number][at : at + width]] for number, at in starts])
    model.tokens.checked(tokens, None)
    return Corpus(tokens, len(prefix), tuple(listed), np.array([number for number, _ in starts]), spans)


def token_corpus(tokens: Any, first: int = 0) -> Corpus:
    """A corpus of token ids ``[windows, time]``.

    Raises:
        InputError: they are no such table, or `first` leaves nothing.
    """
    table = torch.as_tensor(tokens).cpu()
    if table.dim() != 2 or table.numel() == 0:
        raise InputError(f"A corpus is a table of token ids [windows, time], not {[*table.shape]}.")
    if not 0 <= first < table.shape[1]:
        raise InputError(f"{first} columns are not counted, of {table.shape[1]}; some must be left.")
    return Corpus(table.long(), first)


def windows(corpus: Corpus, batch: int, show: bool, what: str) -> Iterable[slice]:
    """Slices of some windows each, with a progress bar if wanted. Raises InputError for a batch of none."""
    if batch < 1:
        raise InputError(f"batch is {batch}; at least one window a forward pass is needed.")
    parts = [slice(start, start + batch) for start in range(0, len(corpus.tokens), batch)]
    return tracked(parts, show, what)
