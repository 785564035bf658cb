"""What every task hands to the code that scores a model or a head finder."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError


@dataclass(frozen=True)
class Task:
    """A batch of token sequences with the predictions that count and what they should be.

    Attributes:
        name: the registered name of the generator.
        tokens: what the model reads.
        positions: where a prediction is scored; the logits at ``positions`` are compared with ``answers``.
        answers: the correct next token at each scored position.
        sources: the position that holds the answer and that an ideal reader would look at, or -1 where the context
            does not determine the answer.
        labels: index into `label_names` for each scored position.
        label_names: names of the kinds of position that are reported apart, such as ``("first", "second")``.

    Raises:
        InputError: a position, a source or a label lies outside its range.
    """

    name: str
    tokens: Int[Tensor, "batch time"]
    positions: Int[Tensor, "batch scored"]
    answers: Int[Tensor, "batch scored"]
    sources: Int[Tensor, "batch scored"]
    labels: Int[Tensor, "batch scored"]
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        time = self.tokens.shape[1]
        for what, values, low, high in (
            ("positions", self.positions, 0, time),
            ("sources", self.sources, -1, time),
            ("labels", self.labels, 0, len(self.label_names)),
        ):
            if values.numel() and not (low <= int(values.min()) and int(values.max()) < high):
                raise InputError(f"Task {self.name!r} has {what} outside {low}..{high - 1}.")

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return int(self.tokens.shape[0])

    @property
    def time(self) -> int:
        """Length of each sequence, in tokens."""
        return int(self.tokens.shape[1])
