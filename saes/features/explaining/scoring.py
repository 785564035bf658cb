"""How well a label says where a feature fires: detection and fuzzing.

Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models" (arXiv:2410.13928,
section 3.2): a judge who knows only the label says of pieces of text whether the feature fires in them (detection), and
of pieces with marked tokens whether the marks are at the tokens at which it fires (fuzzing). As many pieces of either
answer are shown, so the share of right answers is the balanced accuracy: 0.5 by guessing, 1 for a label that says all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from workbench.errors import InputError
from workbench.saes.features.example import Example
from workbench.saes.features.explaining.explainers import LEFT, RIGHT, firing_tokens, marked
from workbench.saes.features.explaining.patterns import Pattern

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class Judge(Protocol):
    """Answers for a label without seeing any activation."""

    name: str

    def detects(self, label: str, example: Example) -> bool:
        """Whether the feature of that label fires somewhere in the piece of text."""
        ...

    def accepts(self, label: str, example: Example, places: Sequence[int]) -> bool:
        """Whether the tokens at `places` are those at which the feature of that label fires."""
        ...


class PatternJudge:
    """Takes labels that are `Pattern`s by their word, so a label's score is what the label is worth.

    Marks are accepted where at least half of them are at tokens of the pattern.

    Raises:
        InputError: a label that is no pattern's name.
    """

    name = "pattern"

    def detects(self, label: str, example: Example) -> bool:
        """Whether the pattern is met somewhere."""
        return bool(_pattern(label).places(example.tokens))

    def accepts(self, label: str, example: Example, places: Sequence[int]) -> bool:
        """Whether the pattern is met at half of the places at least."""
        pattern = _pattern(label)
        return 2 * sum(pattern.fires(example.tokens, at) for at in places) >= len(places)


class CallableJudge:
    """Asks anything that answers a prompt with yes or no.

    Args:
        ask: prompt to answer; what begins with y, t or 1 means yes.
    """

    def __init__(self, ask: Callable[[str], str], name: str = "callable") -> None:
        self.ask, self.name = ask, name

    def detects(self, label: str, example: Example) -> bool:
        """The answer."""
        return self._yes(f"A feature of a language model fires at: {label}\nDoes it fire in this text?", example.text)

    def accepts(self, label: str, example: Example, places: Sequence[int]) -> bool:
        """The answer."""
        question = f"A feature of a language model fires at: {label}\nAre the tokens between {LEFT} and {RIGHT} such?"
        return self._yes(question, marked(example, places))

    def _yes(self, question: str, text: str) -> bool:
        return self.ask(f"{question} Answer yes or no.\n\n{text!r}").strip().lower().startswith(("y", "t", "1"))


@dataclass(frozen=True)
class LabelScore:
    """What a label is worth.

    Attributes:
        measure: ``detection`` or ``fuzzing``.
        score: share of right answers, as many pieces being of either answer.
        low, high: its bootstrap interval over pairs of one piece of either.
        sensitivity, specificity: share of right answers of either.
        pairs: how many there were.
    """

    measure: str
    score: float
    low: float
    high: float
    sensitivity: float
    specificity: float
    pairs: int


def score_label(
    label: str,
    firing: Sequence[Example],
    silent: Sequence[Example],
    judge: Judge,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[LabelScore]:
    """Detection and fuzzing scores of a label.

    Detection shows the firing examples and as many silent ones. Fuzzing shows the firing examples twice: with the
    tokens at which the feature fires marked, and with as many others marked, drawn at random.

    Args:
        firing, silent: pieces in which the feature fires, and in which it does not; the longer list is cut off. Take
            other examples than the label was made of.

    Raises:
        InputError: a list without examples of its kind.
    """
    positive = [one for one in firing if one.fires]
    negative = [one for one in silent if not one.fires]
    if not positive or not negative:
        raise InputError(
            f"A label is scored on pieces in which the feature fires and on others; there are {len(positive)} and "
            f"{len(negative)}."
        )
    pairs = min(len(positive), len(negative))
    found = [
        [judge.detects(label, one) for one in positive[:pairs]],
        [not judge.detects(label, one) for one in negative[:pairs]],
    ]
    scores = [_score("detection", found, level, seed)]
    generator = np.random.default_rng(seed)
    fuzzed: list[list[bool]] = [[], []]
    for one in positive:
        at = firing_tokens(one)
        others = [place for place in range(len(one.tokens)) if place not in set(at) and one.tokens[place]]
        if not others:
            continue
        wrong = sorted(generator.choice(others, size=min(len(at), len(others)), replace=False).tolist())
        fuzzed[0].append(judge.accepts(label, one, at))
        fuzzed[1].append(not judge.accepts(label, one, wrong))
    if fuzzed[0]:
        scores.append(_score("fuzzing", fuzzed, level, seed))
    return scores


def scores_table(scores: Sequence[LabelScore]) -> pd.DataFrame:
    """Scores as a table, a row each."""
    import pandas as pd

    return pd.DataFrame([vars(one) for one in scores])


def _score(measure: str, right: Sequence[Sequence[bool]], level: float, seed: int) -> LabelScore:
    from workbench.tasks import bootstrap_means

    table = torch.tensor(right, dtype=torch.float64)
    values = table.mean(0)[:, None]
    interval = (
        bootstrap_means(values, level=level, seed=seed, units="pairs")
        if len(values) > 1
        else None  # of a single pair there is no spread to see
    )
    low, high = (float("nan"), float("nan")) if interval is None else (float(interval.low), float(interval.high))
    sensitivity, specificity = table.mean(1).tolist()
    return LabelScore(measure, float(values.mean()), low, high, sensitivity, specificity, len(values))


def _pattern(label: str) -> Pattern:
    pattern = Pattern.parse(label)
    if pattern is None:
        raise InputError(f"{label!r} is no pattern of tokens; labels in free words need a CallableJudge.")
    return pattern
