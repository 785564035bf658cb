"""Tokens as pieces of text that join to the text itself, whatever script it is in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int

from workbench.model import HookedModel

LOST = "�"
"""What a tokenizer makes of bytes that are no character by themselves."""
BYTES = 4
"""The longest character of UTF-8."""


class Pieces:
    """The text that each token of a row stands for.

    A token's text depends on what stands before it: a tokenizer may drop a space at the start of a text, and one
    character may be made of several tokens, of which the last one then carries it and those before it are empty.

    Args:
        model: whose tokenizer; one without gives ``<17>`` for token 17.
    """

    def __init__(self, model: HookedModel) -> None:
        self._tokenizer = model.tokenizer
        self._known: dict[int, str] = {}
        self._anchor: list[int] = []
        if self._tokenizer is not None:
            self._anchor = list(self._tokenizer.encode("a", add_special_tokens=False))

    def token(self, token: int) -> str:
        """One token by itself, in the middle of a text; bytes that are no character by themselves as ``<0xE2>``."""
        text = self._text(token)
        return with_bytes(self._tokenizer, token, text) if LOST in text else text

    def _text(self, token: int) -> str:
        """What a token adds to a text, with `LOST` in the place of bytes that are no character."""
        if token not in self._known:
            self._known[token] = self._alone(token)
        return self._known[token]

    def column(self, tokens: Int[np.ndarray, " tokens"]) -> Any:
        """`token` of each of many tokens, as a pyarrow array."""
        import pyarrow as pa

        names, number = np.unique(tokens, return_inverse=True)
        texts = pa.array([self.token(one) for one in names.tolist()], pa.string())
        return pa.DictionaryArray.from_arrays(number.ravel().astype(np.int32), texts).dictionary_decode()

    def row(self, tokens: Sequence[int]) -> list[str]:
        """Each token of a row; joined, they are the row's text."""
        found = [self._text(token) for token in tokens]
        if self._tokenizer is None or not any(LOST in piece for piece in found):
            return found
        at = 0
        while at < len(found):
            at += self._mended(tokens, found, at) if LOST in found[at] else 1
        return found

    def _mended(self, tokens: Sequence[int], found: list[str], at: int) -> int:
        """Put a character that several tokens make on the last of them; how many that are (1 where none do)."""
        for size in range(2, BYTES + 1):
            text = self._decoded(tokens[at : at + size])
            if at + size <= len(found) and LOST not in text:
                found[at : at + size] = [""] * (size - 1) + [text]
                return size
        return 1

    def _alone(self, token: int) -> str:
        if self._tokenizer is None:
            return f"<{token}>"
        before, both = self._decoded(self._anchor), self._decoded([*self._anchor, token])
        return both[len(before) :] if both.startswith(before) else self._decoded([token])

    def _decoded(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def with_bytes(tokenizer: Any, token: int, text: str) -> str:
    """A token's text with its bytes that are no character written as ``<0xE2>``.

    Byte-level vocabularies (GPT-2's way) spell each byte as one character, so that the bytes can be told from the
    spelling; of any other vocabulary `text` is returned as it is.
    """
    spelling = tokenizer.convert_ids_to_tokens(token)
    spelled = _spelled_bytes()
    if not isinstance(spelling, str) or not all(character in spelled for character in spelling):
        return text
    raw = bytes(spelled[character] for character in spelling).decode("utf-8", "surrogateescape")
    # Python keeps a byte that it cannot read as 0xDC00 plus the byte.
    return "".join(f"<0x{ord(one) - 0xDC00:02X}>" if 0xDC80 <= ord(one) <= 0xDCFF else one for one in raw)


@lru_cache(maxsize=1)
def _spelled_bytes() -> dict[str, int]:
    """The byte of each character in which GPT-2's vocabulary is spelled: printable ones as they are, others above."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + number): byte for number, byte in enumerate(others)}
