"""The words of a text in which a feature is highest: what a list says of a feature that nobody has named."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.saes.features import FeatureStore

EXAMPLES, WORDS = 8, 4
"""Strongest examples that are looked at, and different words of theirs that are shown."""

AROUND = 6
"""Tokens before and after a peak that are read to find its word."""


_PEAKS = """
with chosen as (
    select feature, rank, row, position from example_files
    where band = 'top' and rank < {examples} and feature in ({features})
), texts as (
    select row, tokens from rows where row in (select row from chosen)
)
select c.feature, list_slice(t.tokens, greatest(c.position - {around}, 0) + 1, c.position + 1 + {around}) as tokens,
    least(c.position, {around}) as at
from chosen c join texts t using (row) order by c.feature, c.rank
"""


def peak_words(store: FeatureStore, features: Sequence[int]) -> dict[int, list[str]]:
    """The words in which features are highest, the strongest first; a dead feature has none and is not in the result.

    Raises:
        InputError: a feature that is not there.
    """
    numbers = ", ".join(str(store.checked(feature)) for feature in features) or "-1"
    statement = _PEAKS.format(examples=EXAMPLES, features=numbers, around=AROUND)
    found: dict[int, list[str]] = {}
    for feature, tokens, at in store.run(statement, []).fetchall():
        found.setdefault(feature, []).append(word_around(tokens, at))
    return {feature: distinct(words) for feature, words in found.items()}


def word_around(tokens: Sequence[str], at: int) -> str:
    """The word that a token is a part of, marks with it; of a space or a line's end, the word before it."""
    start = at
    while start and not _starts(tokens, start):
        start -= 1
    stop = at + 1
    while stop < len(tokens) and _wordlike(tokens[stop]) and not _starts(tokens, stop):
        stop += 1
    return "".join(tokens[start:stop]).strip() or tokens[at]


def distinct(words: Sequence[str], count: int = WORDS) -> list[str]:
    """The first words, those that differ in more than upper and lower case."""
    found: dict[str, str] = {}
    for word in words:
        found.setdefault(word.lower(), word)
    return list(found.values())[:count]


def _starts(tokens: Sequence[str], at: int) -> bool:
    """Whether there is a space before what can be seen of a token."""
    return bool(tokens[at].strip()) and (tokens[at][0].isspace() or tokens[at - 1][-1:].isspace())


def _wordlike(token: str) -> bool:
    return any(character.isalnum() for character in token)
