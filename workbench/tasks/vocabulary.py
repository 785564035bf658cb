"""What a task may draw its tokens from: a number of ids, a tokenizer, or a model with both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """Token ids, and the words they stand for where there is a tokenizer.

    Attributes:
        size: ids go from 0 to ``size - 1``.
        special: ids that no task draws, such as padding and beginning of sequence.
        device: where a task's tensors are put.
        tokenizer: None for bare ids.
        context: the longest sequence the model reads, or None where nothing limits it.
    """

    size: int
    special: tuple[int, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tokenizer: Any = None
    context: int | None = None

    @classmethod
    def of(cls, source: Any) -> Vocabulary:
        """A vocabulary from itself, a number of ids, a tokenizer of transformers, or a hooked model.

        Raises:
            InputError: it is none of these, or holds no token.
        """
        if isinstance(source, Vocabulary):
            return source
        if isinstance(source, int) and not isinstance(source, bool):
            if source < 1:
                raise InputError(f"The vocabulary size is {source}; at least one token is needed.")
            return cls(source)
        cfg = getattr(source, "cfg", None)
        if cfg is None and hasattr(source, "all_special_ids"):
            return cls(len(source), _special(source, len(source)), tokenizer=source)
        if cfg is None:
            raise InputError(
                f"A vocabulary is a number of tokens or a hooked model, and {type(source).__name__} is neither."
            )
        size, tokenizer = int(cfg.d_vocab), getattr(source, "tokenizer", None)
        if tokenizer is not None:
            # Embeddings are often padded to a round number of rows; rows past the tokenizer's last id were never read.
            size = min(size, len(tokenizer))
        context = getattr(cfg, "n_ctx", None)
        return cls(size, _special(tokenizer, size), torch.device(cfg.device), tokenizer, context)

    def check_length(self, time: int, task: str) -> None:
        """Refuse a sequence that the model cannot read.

        Raises:
            InputError: `time` tokens are more than the model's context.
        """
        if self.context is not None and time > self.context:
            raise InputError(
                f"Task {task!r} has {time} tokens at these sizes, and the model reads at most {self.context}."
            )

    def plain(self, avoid: Iterable[int] | None = None) -> Int[Tensor, " ids"]:
        """The ids a task may draw, in order: all but `avoid`, by default the special ones.

        Raises:
            InputError: `avoid` names a token that does not exist.
        """
        excluded = sorted({int(i) for i in (self.special if avoid is None else avoid)})
        outside = [i for i in excluded if not 0 <= i < self.size]
        if outside:
            raise InputError(f"avoid names token {outside[0]}, outside 0..{self.size - 1}.")
        allowed = torch.ones(self.size, dtype=torch.bool)
        allowed[excluded] = False
        return allowed.nonzero()[:, 0]

    def bos(self, wanted: bool | int | None) -> int | None:
        """The id to put in front of a sequence: the number given, the tokenizer's own for True, else None.

        Raises:
            InputError: True without a tokenizer that has one, or a number that is no token.
        """
        if wanted is None or wanted is False:
            return None
        if wanted is True:
            own = getattr(self.tokenizer, "bos_token_id", None)
            if own is None:
                raise InputError(
                    "bos=True needs a model whose tokenizer has a beginning-of-sequence token; pass its id."
                )
            return int(own)
        if not 0 <= wanted < self.size:
            raise InputError(f"bos is token {wanted}, outside 0..{self.size - 1}.")
        return int(wanted)

    def symbols(self, names: Sequence[str], *, space: bool = True) -> Int[Tensor, " symbols"]:
        """One token for each of the names, all different.

        With a tokenizer the names are words, and their tokens those of the word, with a space before it where `space`.
        Bare ids have no words: the names are then only labels, and stand for the first ids a task may draw.

        Raises:
            InputError: the tokenizer cuts some of the words in pieces (the message names them all), two names share a
                token, or there are too few ids.
        """
        if self.tokenizer is None:
            ids = self.plain()
            if len(ids) < len(names):
                raise InputError(f"{len(names)} symbols cannot be drawn from {len(ids)} allowed tokens.")
            return ids[: len(names)]
        pieces = {name: self.encode(f" {name}" if space else name) for name in names}
        split = [name for name, ids in pieces.items() if len(ids) != 1]
        if split:
            raise InputError(f"The tokenizer has no single token for: {', '.join(map(repr, split))}.")
        found = [pieces[name][0] for name in names]
        if len(set(found)) < len(found):
            raise InputError(f"Two of the words share a token: {', '.join(map(repr, names))}.")
        return torch.tensor(found)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without any special token.

        Raises:
            InputError: there is no tokenizer.
        """
        if self.tokenizer is None:
            raise InputError("This task is made of text; give it a model with a tokenizer, or a tokenizer.")
        return [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]


def _special(tokenizer: Any, size: int) -> tuple[int, ...]:
    return tuple(int(i) for i in getattr(tokenizer, "all_special_ids", ()) if 0 <= i < size)
