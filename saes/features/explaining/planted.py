"""Features with known answers: examples that look like a store's, of functions that somebody wrote down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.errors import InputError
from workbench.saes.features.example import Example
from workbench.saes.features.explaining.patterns import Pattern


@dataclass(frozen=True)
class PlantedFeature:
    """A feature whose right label is known.

    Attributes:
        answer: what it fires at.
        noise: share of all other tokens at which it fires too, weakly; and of its own at which it does not.
    """

    answer: Pattern
    noise: float = 0.0

    def examples(self, rows: Sequence[Sequence[str]], feature: int = 0, seed: int = 0) -> list[Example]:
        """An example a row, around its whole length: ``top`` where the feature fires in it, else ``silent``.

        Raises:
            InputError: no rows, or a noise outside 0 to 1.
        """
        if not rows or not 0 <= self.noise < 1:
            raise InputError(
                f"There are {len(rows)} rows and noise {self.noise}; rows are needed, and a share below 1."
            )
        generator = np.random.default_rng(seed)
        found = []
        for number, tokens in enumerate(rows):
            values = [self._value(tokens, at, generator) for at in range(len(tokens))]
            peak = int(np.argmax(values))
            band = "top" if values[peak] > 0 else "silent"
            ids = tuple(range(len(tokens)))
            found.append(
                Example(feature, band, number, number, peak, 0, values[peak], ids, tuple(tokens), tuple(values))
            )
        return found

    def _value(self, tokens: Sequence[str], at: int, generator: np.random.Generator) -> float:
        flipped = generator.random() < self.noise
        strong = float(generator.uniform(1.0, 2.0))
        if self.answer.fires(tokens, at):
            return 0.0 if flipped else strong
        return 0.2 * strong if flipped else 0.0


def planted_features(
    rows: Sequence[Sequence[str]], count: int = 10, seed: int = 0, noise: float = 0.0
) -> list[PlantedFeature]:
    """Functions of tokens drawn at random, each of which fires in some of the rows and not in all.

    Args:
        rows: tokens; the functions are made of them.
        noise: see `PlantedFeature`.

    Raises:
        InputError: too little text for so many different functions.
    """
    generator = np.random.default_rng(seed)
    words = sorted({token.strip(" ") for row in rows for token in row if len(token.strip()) > 1})
    found: dict[str, PlantedFeature] = {}
    for _ in range(100 * count):
        if len(found) == count or not words:
            break
        pattern = _MAKERS[generator.integers(len(_MAKERS))](words, generator)
        hit = [bool(pattern.places(row)) for row in rows]
        if any(hit) and not all(hit):
            found[str(pattern)] = PlantedFeature(pattern, noise)
    if len(found) < count:
        raise InputError(f"The text gives only {len(found)} of the {count} functions; give more, or longer, rows.")
    return list(found.values())


def _listed(words: Sequence[str], generator: np.random.Generator) -> Pattern:
    size = int(generator.integers(1, 4))
    return Pattern("tokens", tuple(sorted(generator.choice(words, size=min(size, len(words)), replace=False).tolist())))


def _after(words: Sequence[str], generator: np.random.Generator) -> Pattern:
    return Pattern("after", (str(generator.choice(words)),))


def _beginning(words: Sequence[str], generator: np.random.Generator) -> Pattern:
    return Pattern("begins", (str(generator.choice(words))[:2],))


def _ending(words: Sequence[str], generator: np.random.Generator) -> Pattern:
    return Pattern("ends", (str(generator.choice(words))[-2:],))


def _kind(words: Sequence[str], generator: np.random.Generator) -> Pattern:
    return Pattern(str(generator.choice(["digits", "capital", "punctuation"])))


_MAKERS: tuple[Callable[[Sequence[str], np.random.Generator], Pattern], ...] = (
    _listed,
    _after,
    _beginning,
    _ending,
    _kind,
)
