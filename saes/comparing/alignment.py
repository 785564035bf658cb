"""The same text in two tokenizations: where both models have read the same characters."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel


def passages(texts: str | Iterable[str], characters: int = 400, count: int | None = None) -> list[str]:
    """Texts cut after white space into passages of about so many characters, which two models are shown alike.

    Args:
        count: at most so many, the first ones.

    Raises:
        InputError: `characters` below 1, or no text but white space.
    """
    if characters < 1:
        raise InputError(f"characters is {characters}; a passage has at least 1.")
    found: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts:
        start = 0
        while start < len(text) and (count is None or len(found) < count):
            end = min(start + characters, len(text))
            # A word is not cut in two, unless it fills the passage by itself.
            while end < len(text) and end > start + characters // 2 and not text[end].isspace():
                end -= 1
            if text[start:end].strip():
                found.append(text[start:end])
            start = end
    if not found:
        raise InputError("There is no text to compare on.")
    return found


def token_ends(model: HookedModel, text: str) -> tuple[list[int], list[int | None]]:
    """A text's tokens, and after how many of its characters each ends; None where it ends within a character.

    Raises:
        InputError: no tokenizer.
    """
    tokenizer = model.tokens.needed()
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, ends = list(encoded["input_ids"]), [int(end) for _, end in encoded["offset_mapping"]]
        # Of the tokens that make up one character together, it is the last that completes it.
        return ids, [end if end not in ends[place + 1 : place + 5] else None for place, end in enumerate(ends)]
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    read = [str(tokenizer.decode(ids[: place + 1])) for place in range(len(ids))]
    return ids, [len(part) if text.startswith(part) else None for part in read]


def shared_places(first: list[int | None], second: list[int | None]) -> tuple[list[int], list[int]]:
    """Tokens of one tokenization and of another that end after the same character: both models have read the same."""
    at = {end: place for place, end in enumerate(second) if end}
    pairs = [(place, at[end]) for place, end in enumerate(first) if end and end in at]
    return [one for one, _ in pairs], [other for _, other in pairs]


def filled_rows(rows: list[list[int]], pad: int) -> Int[Tensor, "rows time"]:
    """Rows of tokens filled up on the right, where a causal model's tokens do not see what fills them up."""
    import torch

    width = max(len(row) for row in rows)
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])
