"""Texts that know where their pieces and answers stand, written bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Characters(NamedTuple):
    """The characters ``start`` to ``stop - 1`` of a text."""

    start: int
    stop: int


class Answer(NamedTuple):
    """A piece of a text that a model is asked to predict.

    Attributes:
        place: where it stands.
        label: the kind of position its tokens are.
        source: where the same words stood before; None where they did not.
        wrong: what might have stood in its place instead.
    """

    place: Characters
    label: str
    source: Characters | None
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Passage:
    """One sequence as it is written, with its answers and its named pieces."""

    text: str
    answers: tuple[Answer, ...]
    pieces: dict[str, Characters]


class PassageWriter:
    """Writes a passage piece by piece and knows where each of them stands.

    Words are written with the space before them, because tokenizers keep the two together.
    """

    def __init__(self) -> None:
        self._text = ""
        self._answers: list[Answer] = []
        self._pieces: dict[str, Characters] = {}

    def add(self, text: str, name: str | None = None) -> Characters:
        """Go on with `text`, remembered under `name` if one is given; returns where it stands."""
        start = len(self._text)
        self._text += text
        place = Characters(start, len(self._text))
        if name is not None:
            self._pieces[name] = place
        return place

    def word(self, text: str, name: str | None = None) -> Characters:
        """`add` with a space before, unless a line starts here."""
        starts = not self._text or self._text.endswith("\n")
        return self.add(text if starts else f" {text}", name)

    def name(self, name: str, place: Characters) -> None:
        """Remember a place that was written already under a name."""
        self._pieces[name] = place

    def answer(
        self,
        text: str,
        label: str = "answer",
        *,
        source: Characters | None = None,
        wrong: Sequence[str] = (),
        name: str | None = None,
    ) -> Characters:
        """Go on with `text`, whose tokens are scored.

        Args:
            text: the right answer.
            label: the kind of position that its tokens are.
            source: where the same words stood before.
            wrong: other answers, written as this one is (with the space before the word); equal ones are dropped.
            name: as in `add`.

        Raises:
            ValueError: the source does not hold the answer.
        """
        if source is not None and self._text[source.start : source.stop].strip() != text.strip():
            raise ValueError(f"The source {self._text[source.start : source.stop]!r} does not hold {text!r}.")
        place = self.add(text, name)
        self._answers.append(Answer(place, label, source, tuple(other for other in wrong if other != text)))
        return place

    def passage(self) -> Passage:
        """What was written."""
        return Passage(self._text, tuple(self._answers), dict(self._pieces))
