"""Predicates: what is true, or how much, at each character of a text; and what that makes of its tokens.

A predicate is any function from a text to one number (or boolean) a character; these are the ones that Karpathy et al.
2015 ("Visualizing and Understanding Recurrent Networks", arXiv:1506.02078) found cells for, and some neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped

from workbench.arguments import checked_call
from workbench.errors import InputError, offer
from workbench.probes.neurons.corpus import Corpus

Predicate: TypeAlias = Callable[[str], "list[bool] | list[int] | list[float]"]

_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def inside_quotes(text: str) -> list[bool]:
    """Between double quotation marks, straight or curly, marks included; an empty line ends what was left open."""
    found, inside = [], False
    for at, character in enumerate(text):
        if character == "\n" and at > 0 and text[at - 1] == "\n":
            inside = False
        closing = (character == '"' and inside) or character == "”"
        if character in '"“':
            inside = True
        found.append(inside)
        if closing:
            inside = False
    return found


def inside_brackets(text: str) -> list[bool]:
    """Between brackets of any of the three kinds, brackets included."""
    depths = bracket_depth(text)
    return [depth > 0 or character in ")]}" for depth, character in zip(depths, text, strict=True)]


def bracket_depth(text: str) -> list[int]:
    """How many brackets are open after each character; one that closes nothing counts for nothing."""
    found, depth = [], 0
    for character in text:
        depth = max(0, depth + _BRACKETS.get(character, 0))
        found.append(depth)
    return found


def line_position(text: str) -> list[int]:
    """Characters since the start of the line, the newline that ends it being its last."""
    found, since = [], 0
    for character in text:
        since += 1
        found.append(since)
        if character == "\n":
            since = 0
    return found


def word_position(text: str) -> list[int]:
    """Characters since the start of the word: letters and digits count on, all else is 0."""
    found, since = [], 0
    for character in text:
        since = since + 1 if character.isalnum() else 0
        found.append(since)
    return found


def next_is_newline(text: str) -> list[bool]:
    """The next character is a newline; at the end of the text it is not."""
    return [following == "\n" for following in text[1:]] + [False] * bool(text)


def next_is_space(text: str) -> list[bool]:
    """The next character is a space or a newline."""
    return [following.isspace() for following in text[1:]] + [False] * bool(text)


def is_capital(text: str) -> list[bool]:
    """An upper-case letter."""
    return [character.isupper() for character in text]


def is_digit(text: str) -> list[bool]:
    """A digit."""
    return [character.isdigit() for character in text]


PREDICATES: dict[str, Predicate] = {
    function.__name__: function
    for function in (
        inside_quotes,
        inside_brackets,
        bracket_depth,
        line_position,
        word_position,
        next_is_newline,
        next_is_space,
        is_capital,
        is_digit,
    )
}


def get_predicate(predicate: str | Predicate) -> Predicate:
    """A predicate by name, or the function itself. Raises InputError for a name that none has."""
    if callable(predicate):
        return predicate
    if predicate not in PREDICATES:
        raise InputError(f"No predicate is called {predicate!r}; {offer(predicate, PREDICATES)}.")
    return PREDICATES[predicate]


@checked_call
def token_labels(corpus: Corpus, predicate: str | Predicate) -> Shaped[np.ndarray, "windows counted"]:
    """The predicate at the last character of every counted token.

    Texts are judged as a whole, so a window may begin inside a quotation.

    Raises:
        InputError: a corpus of bare tokens, or a predicate that does not give one number a character.
    """
    if corpus.spans is None or corpus.text_of is None:
        raise InputError("This corpus has no text, only tokens; a predicate is about characters (read_corpus).")
    function = get_predicate(predicate)
    judged: dict[int, Shaped[np.ndarray, " characters"]] = {}
    for number in np.unique(corpus.text_of):
        text = corpus.texts[number]
        values = np.asarray(function(text))
        if values.shape != (len(text),) or values.dtype.kind not in "biuf":
            raise InputError(
                f"The predicate gave {values.dtype} of shape {[*values.shape]} for {len(text)} characters; one number "
                "or boolean a character is needed."
            )
        judged[int(number)] = values
    ends = corpus.spans[:, corpus.first :, 1] - 1
    rows = [judged[int(number)][row.clip(min=0)] for number, row in zip(corpus.text_of, ends, strict=True)]
    labels: Shaped[np.ndarray, "windows counted"] = np.stack(rows)
    return labels
