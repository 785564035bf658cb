"""Simple functions of tokens that have a name: what an explainer can say, a judge check, and a test plant.

In the manner of FIND (Schwettmann et al. 2023, arXiv:2309.03886), whose benchmark functions have known descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import InputError

KINDS = {
    "tokens": "the token is one of",
    "begins": "the token begins with",
    "ends": "the token ends with",
    "contains": "the token contains",
    "after": "the token before is one of",
    "digits": "the token is made of digits",
    "capital": "the token begins with a capital letter",
    "punctuation": "the token is punctuation",
    "space": "the token is white space",
}
"""Kinds of pattern, and how their names begin; those with a list go on with it."""
_PLAIN = ("digits", "capital", "punctuation", "space")


@dataclass(frozen=True)
class Pattern:
    """Which tokens of a row a feature fires at; ``str(pattern)`` is its name and `Pattern.parse` reads it.

    Attributes:
        kind: one of `KINDS`.
        words: the listed pieces of text, of a kind that has them. A space before a token does not count.
    """

    kind: str
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"No kind of pattern is called {self.kind!r}; it is one of {', '.join(KINDS)}.")
        if bool(self.words) == (self.kind in _PLAIN):
            raise InputError(
                f"A pattern {self.kind!r} {'lists nothing' if self.kind in _PLAIN else 'lists something'}."
            )

    def __str__(self) -> str:
        if self.kind in _PLAIN:
            return KINDS[self.kind]
        return f"{KINDS[self.kind]} {', '.join(json.dumps(word, ensure_ascii=False) for word in self.words)}"

    @classmethod
    def parse(cls, name: str) -> Pattern | None:
        """The pattern that a name means; None where it is a name of another making."""
        for kind, begins in KINDS.items():
            if kind in _PLAIN and name == begins:
                return cls(kind)
            if kind not in _PLAIN and name.startswith(begins + " "):
                try:
                    words = json.loads(f"[{name[len(begins) + 1 :]}]")
                except ValueError:
                    continue  # "begins with a capital letter" is a kind of its own
                if words and all(isinstance(word, str) for word in words):
                    return cls(kind, tuple(words))
        return None

    def fires(self, tokens: Sequence[str], at: int) -> bool:
        """Whether it is so at a place of a row of tokens."""
        token = tokens[at].strip(" ")
        if self.kind == "after":
            return at > 0 and tokens[at - 1].strip(" ") in self.words
        tests = {
            "tokens": lambda: token in self.words,
            "begins": lambda: token.startswith(self.words),
            "ends": lambda: token.endswith(self.words),
            "contains": lambda: any(word in token for word in self.words),
            "digits": lambda: token.isdecimal(),
            "capital": lambda: token[:1].isupper(),
            "punctuation": lambda: bool(token) and not any(letter.isalnum() or letter.isspace() for letter in token),
            "space": lambda: bool(tokens[at]) and tokens[at].isspace(),
        }
        return tests[self.kind]()

    def places(self, tokens: Sequence[str]) -> list[int]:
        """Where in a row it is so."""
        return [at for at in range(len(tokens)) if self.fires(tokens, at)]
