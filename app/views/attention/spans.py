"""Tokens of two tokenizers, matched by the characters they stand for."""

from __future__ import annotations

from collections.abc import Sequence

NEAR = 16
"""Characters within which a token is looked for after one that stands for a part of a character."""


def token_spans(tokens: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where each token lies in the text, as (begin, end); empty for one that is not in it (a start token).

    Tokens that hold a part of a character (shown as ``\ufffd``) are empty, too; the next whole one is found again.
    """
    at, spans, lost = 0, [], False
    for token in tokens:
        found = text.find(token, at, at + len(token) + (NEAR if lost else 0)) if token else -1
        if found < 0:
            spans.append((at, at))
            lost = lost or "\ufffd" in token
            continue
        lost = False
        at = found + len(token)
        spans.append((found, at))
    return spans


def matching(index: int, ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> int:
    """The token of theirs that shares most characters with ours; the first of several, the nearest if none does."""
    begin, end = ours[index]

    def fit(span: tuple[int, int]) -> tuple[int, int]:
        return min(end, span[1]) - max(begin, span[0]), -abs(begin - span[0])

    return max(range(len(theirs)), key=lambda at: fit(theirs[at]))
