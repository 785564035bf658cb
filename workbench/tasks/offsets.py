"""Which characters of a text each of its tokens stands for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

from workbench.errors import InputError


class TokenisedText(NamedTuple):
    """A text in tokens.

    Attributes:
        ids: token ids, without any special token.
        starts, stops: token ``i`` stands for the characters ``starts[i]`` to ``stops[i] - 1``.
    """

    ids: list[int]
    starts: list[int]
    stops: list[int]

    def within(self, start: int, stop: int) -> range:
        """The tokens that hold at least one of the characters ``start`` to ``stop - 1``."""
        first, end = bisect_right(self.stops, start), bisect_left(self.starts, stop)
        return range(first, end) if first < end and start < stop else range(0)


def tokenise(tokenizer: Any, text: str) -> TokenisedText:
    """A text in tokens with their characters.

    Fast tokenizers know the characters. Of others the text of the first n tokens is compared with that of the first
    n + 1, which costs a decoding a token.

    Raises:
        InputError: the tokenizer does not give back the text it was given, so that its tokens have no place in it.
    """
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        places = found["offset_mapping"]
        return TokenisedText(
            [int(i) for i in found["input_ids"]], [int(a) for a, _ in places], [int(b) for _, b in places]
        )
    ids = [int(i) for i in tokenizer.encode(text, add_special_tokens=False)]
    prefixes = [tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False) for count in range(1, len(ids) + 1)]
    whole = prefixes[-1] if prefixes else ""
    # Some tokenizers put a space in front of every text, some take it away again when they decode.
    extra = len(whole) - len(text)
    if whole.lstrip(" ") != text.lstrip(" "):
        raise InputError("The tokenizer changes the text that it is given, so its tokens cannot be found in the text.")
    ends = [min(max(len(prefix) - extra, 0), len(text)) for prefix in prefixes]
    return TokenisedText(ids, [0, *ends[:-1]], ends)


def leading_special(tokenizer: Any) -> list[int]:
    """The special tokens that the tokenizer itself puts in front of a text."""
    special = set(tokenizer.all_special_ids)
    front = []
    for token in tokenizer.encode("a", add_special_tokens=True):
        if token not in special:
            break
        front.append(int(token))
    return front
