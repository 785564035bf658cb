"""The number that an attribution explains: a logit, a difference of two, or any direction over the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.tokens import Tokens

Target: TypeAlias = int | str | tuple[int | str, int | str] | Sequence[int | str] | Tensor | None
"""A token (id or text), a pair of tokens (first logit minus second), a list of tokens, one a row, weights
``[vocab]`` or ``[batch, vocab]``, or None for the likeliest token."""


def weights(target: Target, logits: Float[Tensor, "batch vocab"], tokens: Tokens) -> Float[Tensor, "batch vocab"]:
    """The target as weights over the vocabulary: what is explained is ``(weights * logits).sum(-1)``.

    Raises:
        InputError: a token outside the vocabulary, a text of several tokens, or weights of the wrong shape.
    """
    batch, vocab = logits.shape
    if target is None:
        return _one_hot(logits.argmax(-1), logits)
    if isinstance(target, bool):
        raise InputError(f"A target is a token, not {target!r}.")
    if isinstance(target, int | str):
        return _one_hot(torch.full((batch,), _token(target, vocab, tokens)), logits)
    if isinstance(target, tuple):
        if len(target) != 2:
            raise InputError(f"A tuple names two tokens, whose logits are subtracted; this one names {len(target)}.")
        first, second = (torch.full((batch,), _token(one, vocab, tokens)) for one in target)
        return _one_hot(first, logits) - _one_hot(second, logits)
    if isinstance(target, Tensor) and target.is_floating_point():
        if target.shape not in ((vocab,), (batch, vocab)):
            raise InputError(f"Weights over the vocabulary are [{vocab}] or [{batch}, {vocab}], not {[*target.shape]}.")
        return target.to(logits).expand(batch, vocab)
    if not isinstance(target, Tensor):
        target = torch.tensor([_token(one, vocab, tokens) for one in target])
    listed = target
    if listed.shape != (batch,):
        raise InputError(f"A list names one token for each of the {batch} rows; this one has shape {[*listed.shape]}.")
    return _one_hot(torch.tensor([_token(int(one), vocab, tokens) for one in listed]), logits)


def _one_hot(ids: Tensor, logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, "batch vocab"]:
    return torch.zeros_like(logits).scatter(1, ids.to(logits.device)[:, None], 1.0)


def _token(one: int | str, vocab: int, tokens: Tokens) -> int:
    if isinstance(one, str):
        ids = tokens.encode(one, prepend_bos=False)[0][0].tolist()
        if len(ids) != 1:
            raise InputError(f"{one!r} is {len(ids)} tokens; a target is one token.")
        return int(ids[0])
    if not 0 <= one < vocab:
        raise InputError(f"Token {one} is outside the vocabulary of {vocab}.")
    return one
