"""What the rows and columns of a matrix are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.figures.tokens import visible_text, visible_token

WIDTH = 14
"""Characters of a label beside a matrix; the whole name is read out under it."""


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of a matrix.

    Attributes:
        title: what they are: ``"token that reads"``, ``"layer"``.
        labels: written beside the matrix where there is room, one each.
        names: read out for a cell, one each.
    """

    title: str
    labels: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, title: str, names: Sequence[object]) -> Axis:
        """Rows or columns with plain names or numbers: layers, heads."""
        shown = [visible_text(str(name)) for name in names]
        return cls(title, tuple(map(_cut, shown)), tuple(f"{title} {name}" for name in shown))

    @classmethod
    def of_tokens(cls, title: str, tokens: Sequence[str], *, factor: int = 1, first: int = 0) -> Axis:
        """Tokens, with what is invisible in them shown.

        Args:
            factor: tokens a row stands for, where a matrix was pooled.
            first: position of the first of them in the text.
        """
        labels, names = [], []
        for start in range(0, len(tokens), factor):
            shown = visible_token(tokens[start])
            last = min(start + factor, len(tokens)) - 1
            at = f"{first + start}" if last == start else f"{first + start}–{first + last}"
            labels.append(_cut(shown if factor == 1 and not first else f"{first + start} {shown}"))
            names.append(f"{at} “{shown}”" if last == start else f"{at} “{shown}…”")
        return cls(title, tuple(labels), tuple(names))

    def __len__(self) -> int:
        return len(self.labels)


def _cut(shown: str) -> str:
    return shown if len(shown) <= WIDTH else shown[: WIDTH - 1] + "…"
