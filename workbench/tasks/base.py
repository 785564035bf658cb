"""What every task hands to the code that scores a model or a head finder."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError

SHARED = {"shared": True}
"""Metadata of a subclass's field that belongs to the whole task, not to one sequence an entry: a transition matrix."""

NOT_SCORED = -1
"""The label of a slot that is only there because another sequence has more scored positions."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A batch of token sequences with the predictions that count and what they should be.

    Attributes:
        name: the registered name of the generator.
        tokens: what the model reads.
        positions: where a prediction is scored; the logits at ``positions`` are compared with ``answers``.
        answers: the correct prediction at each scored position: the next token, or, in a task that reads something out
            at every position (a count, an order), that; any token in a slot that does not count.
        sources: the position that an ideal reader would look at: it holds the answer where that is copied, and decides
            it elsewhere; -1 where the context does not determine the answer or no single position does.
        labels: index into `label_names` for each scored position; `NOT_SCORED` for a slot that does not count.
        label_names: names of the kinds of position that are reported apart, such as ``("first", "second")``.
        mask: 1 at text, 0 at padding, which is on the left; None where all sequences are equally long.
        distractors: wrong answers that each scored position is tempted by; their logits are what a logit difference is
            taken to; -1 where there are fewer of them than elsewhere, or none.
        outcomes: the tokens that `probabilities` are of.
        probabilities: the exact distribution of the next token at each scored position, for an ideal predictor.
        states: the hidden state of the process that made the text, after each token: what a probe should find; -1
            where it has none, as at padding and before the process starts.
        text: each sequence as it was written, where it was made of words.
        answer_numbers: which answer of its sequence each scored position is a token of, for answers of several tokens;
            -1 in a slot that does not count. None where every scored position is an answer of its own.

    Raises:
        InputError: a position, a source or a label lies outside its range, shapes or probabilities and outcomes do not
            belong together, padding is not on the left, or a prediction is scored on padding.
    """

    name: str
    tokens: Int[Tensor, "batch time"]
    positions: Int[Tensor, "batch scored"]
    answers: Int[Tensor, "batch scored"]
    sources: Int[Tensor, "batch scored"]
    labels: Int[Tensor, "batch scored"]
    label_names: tuple[str, ...] = field(metadata=SHARED)
    mask: Int[Tensor, "batch time"] | None = None
    distractors: Int[Tensor, "batch scored wrong"] | None = None
    outcomes: Int[Tensor, " outcomes"] | None = field(default=None, metadata=SHARED)
    probabilities: Float[Tensor, "batch scored outcomes"] | None = None
    states: Int[Tensor, "batch time"] | None = None
    text: tuple[str, ...] | None = None
    answer_numbers: Int[Tensor, "batch scored"] | None = None

    def __post_init__(self) -> None:
        time = self.tokens.shape[1]
        for what, values, low, high in (
            ("positions", self.positions, 0, time),
            ("sources", self.sources, -1, time),
            ("labels", self.labels, NOT_SCORED, len(self.label_names)),
        ):
            if values.numel() and not (low <= int(values.min()) and int(values.max()) < high):
                raise InputError(f"Task {self.name!r} has {what} outside {low}..{high - 1}.")
        if (self.outcomes is None) != (self.probabilities is None):
            raise InputError(f"Task {self.name!r} has probabilities without outcomes, or outcomes without them.")
        self._check_shapes()
        if self.mask is not None:
            self._check_padding(self.mask)

    def _check_shapes(self) -> None:
        read, scored = tuple(self.tokens.shape), tuple(self.positions.shape)
        for what, expected in (
            ("answers", scored),
            ("sources", scored),
            ("labels", scored),
            ("answer_numbers", scored),
            ("distractors", scored),
            ("probabilities", scored),
            ("mask", read),
            ("states", read),
        ):
            value = getattr(self, what)
            if value is not None and tuple(value.shape[:2]) != expected:
                raise InputError(
                    f"Task {self.name!r} has {what} for {tuple(value.shape[:2])} slots and not {expected}."
                )
        if scored[0] != read[0]:
            raise InputError(f"Task {self.name!r} has {read[0]} sequences and positions for {scored[0]}.")

    def _check_padding(self, mask: Tensor) -> None:
        if bool((mask[:, 1:] < mask[:, :-1]).any()) or bool((mask[:, -1] == 0).any()):
            raise InputError(f"Task {self.name!r} has padding that is not on the left, or nothing but padding.")
        scored_padding = (mask.gather(1, self.positions) == 0) & (self.labels != NOT_SCORED)
        if bool(scored_padding.any()):
            raise InputError(f"Task {self.name!r} scores a prediction on padding.")

    def __repr__(self) -> str:
        scored = int((self.labels != NOT_SCORED).sum())
        kinds = ", ".join(self.label_names)
        size = f"{self.batch} sequences of {self.time} tokens"
        return f"{type(self).__name__}({self.name}: {size}, {scored} scored: {kinds})"

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return int(self.tokens.shape[0])

    @property
    def time(self) -> int:
        """Length of each sequence, in tokens."""
        return int(self.tokens.shape[1])

    def sequences(self, chosen: slice) -> Task:
        """The same task of some of its sequences."""
        parts: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.metadata.get("shared"):
                continue
            if isinstance(value, Tensor | tuple):
                parts[each.name] = value[chosen]
            elif isinstance(value, dict):
                parts[each.name] = {name: entries[chosen] for name, entries in value.items()}
        return replace(self, **parts)
