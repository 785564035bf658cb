"""Text to tokens and back, with the checks that give a clear sentence instead of an index error."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError


def check_choice(option: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is none of an option's. Raises InputError, which lists them."""
    if not any(value is choice or value == choice for choice in choices):
        raise InputError(f"{option} is {value!r}; it must be one of {', '.join(map(repr, choices))}.")


def as_integers(what: str, values: Any) -> Tensor:
    """Token ids or a mask as a tensor; `what` names them in the refusal.

    Raises:
        InputError: no tensor can be made of them.
    """
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, bytes | bytearray):
            raise TypeError
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} cannot be made of this {type(values).__name__}; give a tensor or integers in rows of one length."
        ) from error


class Tokens:
    """A model's tokenizer, or the lack of one.

    Attributes:
        tokenizer: a transformers tokenizer, or None.
        d_vocab: tokens the model has embeddings for.
        n_ctx: positions the model has, or None for no limit.
    """

    def __init__(self, tokenizer: Any, d_vocab: int, n_ctx: int | None, model_name: str) -> None:
        self.tokenizer = tokenizer
        self.d_vocab = d_vocab
        self.n_ctx = n_ctx
        self._model_name = model_name

    def needed(self) -> Any:
        """The tokenizer. Raises InputError for a model without one."""
        if self.tokenizer is None:
            raise InputError(
                f"{self._model_name} has no tokenizer, so it takes token ids only; "
                "pass a LongTensor, or give load(..., tokenizer=...) a tokenizer."
            )
        return self.tokenizer

    @property
    def pad_id(self) -> int:
        """The token that fills short rows: the tokenizer's padding, else its end of text, else 0."""
        for name in ("pad_token_id", "eos_token_id"):
            found = getattr(self.tokenizer, name, None)
            if isinstance(found, int):
                return found
        return 0

    @property
    def eos_ids(self) -> set[int]:
        """Tokens that end a text; empty without a tokenizer."""
        found = getattr(self.tokenizer, "eos_token_id", None)
        return {found} if isinstance(found, int) else set()

    def encode(
        self,
        text: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] = "left",
    ) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """Tokens and mask (1 at tokens, 0 at padding) of one text or several.

        Args:
            prepend_bos: None leaves special tokens to the tokenizer; True starts every row with the beginning-of-text
                token; False adds no special token.

        Raises:
            InputError: no tokenizer, no text, a text without a token, no beginning-of-text token to prepend, or no such
                side.
        """
        check_choice("padding_side", padding_side, ("left", "right"))
        tokenizer = self.needed()
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise InputError("There is no text to tokenize: the list is empty.")
        rows = [list(tokenizer.encode(one, add_special_tokens=prepend_bos is not False)) for one in texts]
        if prepend_bos:
            bos = tokenizer.bos_token_id
            if bos is None:
                raise InputError(f"The tokenizer of {self._model_name} has no beginning-of-text token to prepend.")
            rows = [row if row[:1] == [bos] else [bos, *row] for row in rows]
        for number, (one, row) in enumerate(zip(texts, rows, strict=True)):
            if not one or not row:
                where = "The text" if isinstance(text, str) else f"Text {number}"
                raise InputError(f"{where} is empty; at least one token is needed.")
        width = max(len(row) for row in rows)
        tokens = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if padding_side == "left" else slice(0, len(row))
            tokens[number, place] = torch.tensor(row)
            mask[number, place] = 1
        return tokens, mask

    def decode(self, tokens: Tensor | Sequence[int]) -> str | list[str]:
        """Text of one row of tokens, or of each row of a batch."""
        tokenizer = self.needed()
        ids = torch.as_tensor(tokens)
        if ids.dim() > 1:
            return [str(tokenizer.decode(row.tolist())) for row in ids]
        return str(tokenizer.decode(ids.reshape(-1).tolist()))

    def texts(self, tokens: Int[Tensor, "batch total"], prompt_mask: Int[Tensor, "batch time"] | None) -> list[str]:
        """Text of prompts and their continuations, without special tokens and without the prompts' padding."""
        real = torch.ones_like(tokens, dtype=torch.bool)
        if prompt_mask is not None:
            real[:, : prompt_mask.shape[1]] = prompt_mask.bool()
        tokenizer = self.needed()
        return [
            str(tokenizer.decode(row[kept].tolist(), skip_special_tokens=True))
            for row, kept in zip(tokens, real, strict=True)
        ]

    def pieces(self, tokens: Int[Tensor, " time"]) -> list[str]:
        """Each token of one row as text of its own."""
        tokenizer = self.needed()
        return [str(tokenizer.decode([token])) for token in tokens.tolist()]

    def checked(self, tokens: Tensor, attention_mask: Tensor | None, new: int = 0) -> None:
        """Refuse tokens ``[batch, time]`` that the model cannot take; `new` more tokens are going to follow.

        Raises:
            InputError: not integers, empty, outside the vocabulary, longer than the positions, or a mask of another
                shape or with an empty row.
        """
        if tokens.numel() == 0:
            raise InputError("There are no tokens: at least one sequence of at least one token is needed.")
        if tokens.dtype not in (torch.int64, torch.int32) or tokens.dim() != 2:
            raise InputError(
                f"Tokens must be integers of shape [batch, time]; these are {tokens.dtype}, {list(tokens.shape)}."
            )
        low, high = tokens.aminmax()
        if low < 0 or high >= self.d_vocab:
            wrong = int(low) if low < 0 else int(high)
            raise InputError(
                f"Token {wrong} is outside the vocabulary of {self._model_name}; ids go from 0 to {self.d_vocab - 1}."
            )
        if self.n_ctx is not None and tokens.shape[1] + new > self.n_ctx:
            grown = f" and {new} new ones" if new else ""
            raise InputError(
                f"{tokens.shape[1]} tokens{grown} do not fit: {self._model_name} has {self.n_ctx} positions."
            )
        if attention_mask is not None:
            if attention_mask.shape != tokens.shape:
                raise InputError(
                    f"The attention mask has shape {list(attention_mask.shape)}; it must be {list(tokens.shape)}, "
                    "as the tokens are."
                )
            if not attention_mask.any(dim=1).all():
                raise InputError("A row of the attention mask is 0 everywhere; every row needs at least one token.")
