"""What is known of a model's tokens without asking anybody: letters, capitals, spaces, digits of its own vocabulary."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.data import ProbeData, labelled_tokens
from workbench.saes.judging.reading import Source, token_windows
from workbench.tokens import check_choice

if TYPE_CHECKING:
    import pandas as pd

PROPERTIES = ("first_letter", "capitalised", "leading_space", "digits")
LETTERS = tuple(string.ascii_lowercase)


def vocabulary(model: HookedModel) -> pd.DataFrame:
    """One row a token: ``token``, ``text``, and what it is.

    ``first_letter``: a to z, in either case, of tokens that are letters but for a space before them; ``capitalised``:
    whether that letter is a capital; None of both for other tokens. ``leading_space``: whether it begins with a space;
    ``digits``: whether it is digits but for a space.

    Raises:
        InputError: no tokenizer.
    """
    import pandas as pd

    model.tokens.needed()
    rows: list[tuple[object, ...]] = []
    for token in range(len(model.tokens.needed())):
        text = str(model.tokens.needed().decode([token]))
        word = text[1:] if text.startswith(" ") else text
        spelled = word.isascii() and word.isalpha()
        letter, capital = (word[0].lower(), word[0].isupper()) if spelled else (None, None)
        rows.append((token, text, letter, capital, text.startswith(" "), word.isascii() and word.isdigit()))
    columns = ("token", "text", "first_letter", "capitalised", "leading_space", "digits")
    # As objects, because None means that there is no letter, and pandas would make a number of it.
    mixed = {"first_letter": object, "capitalised": object}
    return pd.DataFrame(
        {name: pd.Series([row[number] for row in rows], dtype=mixed.get(name)) for number, name in enumerate(columns)}
    )


def labelled_words(
    model: HookedModel,
    source: Source,
    label: str = "first_letter",
    *,
    length: int = 64,
    windows: int | None = None,
    rows: int = 4000,
    a_token: int = 8,
    seed: int = 0,
) -> ProbeData:
    """Tokens in text, labelled by what they are; tokens of one kind are held out together.

    A probe can learn tokens by heart, so all occurrences of a token are on one side of every hold-out. First tokens of
    rows are left out: a model has seen nothing before them.

    Args:
        source, length: as in `judge_sae`.
        label: ``first_letter``, ``capitalised``, ``leading_space`` or ``digits``; see `vocabulary`. Or a letter, for
            whether a token begins with it.
        rows: occurrences at most, drawn from all.
        a_token: occurrences of a token at most, the first ones, so that frequent tokens do not count for all.
        seed: of the drawing.

    Raises:
        InputError: another label, or a text in which no token has one.
    """
    check_choice("label", label, (*PROPERTIES, *LETTERS))
    known = vocabulary(model)
    column = known[label if label in PROPERTIES else "first_letter"].tolist()
    if label in LETTERS:
        column = [None if letter is None else letter == label for letter in column]
    labels = dict(zip(known["token"].tolist(), column, strict=True))
    tokens = token_windows(model, source, length, windows)
    counted: dict[int, int] = {}
    marks: list[list[object]] = []
    for row in tokens.tolist():
        marks.append([None])
        for token in row[1:]:
            counted[token] = counted.get(token, 0) + 1
            marks[-1].append(labels.get(token) if counted[token] <= a_token else None)
    if all(mark is None for row in marks for mark in row):
        raise InputError(f"No token of this text has a label for {label!r}.")
    data = by_token(labelled_tokens(model, list(tokens.unbind(0)), marks))
    return data.sample(rows, seed)


def by_token(data: ProbeData) -> ProbeData:
    """The same places, all occurrences of a token held out together."""
    from dataclasses import replace

    return replace(data, groups=token_at(data))


def token_at(data: ProbeData) -> Int[np.ndarray, " rows"]:
    """The token at each place."""
    sequences: tuple[Tensor, ...] = data.sequences
    return np.array([int(sequences[n][t]) for n, t in zip(data.sequence, data.position, strict=True)])
