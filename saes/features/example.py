"""One example of a feature: tokens, and how strongly it fires at each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A piece of text around a token at which a feature is highest in its row.

    Attributes:
        feature: which feature.
        band: ``top``, a band of ranks such as ``75-100%``, ``random`` or ``silent`` (the feature fires nowhere in the
            row).
        rank: within the band.
        row, position: the row of the text, and the peak's place in it.
        start: place in the row of the first token shown.
        value: activation at the peak.
        token_ids, tokens: what is shown; the tokens joined are the text, exactly.
        activations: of the feature at each of them.
    """

    feature: int
    band: str
    rank: int
    row: int
    position: int
    start: int
    value: float
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def peak(self) -> int:
        """Index of the peak among the tokens shown."""
        return self.position - self.start

    @property
    def text(self) -> str:
        """What is shown."""
        return "".join(self.tokens)

    @property
    def fires(self) -> bool:
        """Whether the feature fires in it."""
        return any(value > 0 for value in self.activations)
