"""How well a model does a task: a continuous and a discontinuous number for every kind of position.

Loss moves smoothly while accuracy jumps (Schaeffer et al. 2023, "Are Emergent Abilities of Large Language Models a
Mirage?"), so both are always there: the negative log-probability of the answer beside accuracy; the logit difference
to wrong answers beside how often the answer is preferred to them all; the divergence from an exact predictor beside
how often the likeliest token is a possible one. Where answers are several tokens long, the exact match of whole answers
stands beside the accuracy of their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookFunction, NamesFilter
from workbench.model import HookedModel
from workbench.tasks.base import NOT_SCORED, Task
from workbench.tasks.intervals import Interval, bootstrap_mean

CONTINUOUS = ("loss", "logit_difference", "divergence")
DISCONTINUOUS = ("accuracy", "exact_match", "preference", "legality")


@dataclass(frozen=True)
class TaskScores:
    """What a model did at each scored position.

    Attributes:
        task: the task that was scored.
        loss: negative log-probability of the answer, in nats.
        correct: whether the answer had the largest logit.
        logit_difference: logit of the answer less the mean logit of the distractors; None without distractors.
        preferred: whether the answer's logit was above every distractor's; None without distractors.
        divergence: Kullback-Leibler divergence of the model from the exact distribution, ``KL(exact || model)``, in
            nats; None where the task has none.
        legal: whether the likeliest token has a probability above 0 in the exact distribution; None where it has none.
    """

    task: Task
    loss: Float[Tensor, "batch scored"]
    correct: Bool[Tensor, "batch scored"]
    logit_difference: Float[Tensor, "batch scored"] | None = None
    preferred: Bool[Tensor, "batch scored"] | None = None
    divergence: Float[Tensor, "batch scored"] | None = None
    legal: Bool[Tensor, "batch scored"] | None = None

    @property
    def measures(self) -> dict[str, Tensor]:
        """What there is, by the name it is asked for: ``[batch, scored]`` each."""
        every = {
            "loss": self.loss,
            "accuracy": self.correct,
            "exact_match": self.exact,
            "logit_difference": self.logit_difference,
            "preference": self.preferred,
            "divergence": self.divergence,
            "legality": self.legal,
        }
        return {name: value for name, value in every.items() if value is not None}

    @property
    def exact(self) -> Bool[Tensor, "batch scored"] | None:
        """Whether every scored token of the answer that a position belongs to is right; None without longer answers.

        The tokens are predicted from the true ones before them, which comes to the same as writing the answer greedily:
        as long as all are right, what was written is what was read.
        """
        numbers = self.task.answer_numbers
        if numbers is None or not bool(_same_answer(numbers).sum(-1).gt(1).any()):
            return None
        return ~(_same_answer(numbers) & ~self.correct[:, None, :]).any(-1)

    def per_sequence(self, measure: str, label: str | None = None) -> Float[Tensor, " batch"]:
        """Mean of a measure over each sequence's positions of one label, or of any label.

        Raises:
            InputError: the measure or the label does not exist, or a sequence has no position of that label.
        """
        if measure not in self.measures:
            raise InputError(f"No measure is called {measure!r}; there is: {', '.join(self.measures)}.")
        if label is not None and label not in self.task.label_names:
            raise InputError(f"No position is labelled {label!r}; there is: {', '.join(self.task.label_names)}.")
        labels = self.task.labels
        chosen = labels != NOT_SCORED if label is None else labels == self.task.label_names.index(label)
        if not bool(chosen.any(1).all()):
            named = "that is scored" if label is None else f"labelled {label!r}"
            raise InputError(f"A sequence of task {self.task.name!r} has no position {named}.")
        chosen = chosen & self._counted(measure)
        if not bool(chosen.any(1).all()):
            raise InputError(f"A sequence of task {self.task.name!r} has no wrong answer to compare with.")
        values = self.measures[measure].double()
        return torch.where(chosen, values, 0).sum(1) / chosen.sum(1)

    def _counted(self, measure: str) -> Bool[Tensor, "batch scored"]:
        """Where a measure counts: a comparison with wrong answers where there are any, a whole answer once."""
        if measure in ("logit_difference", "preference") and self.task.distractors is not None:
            return (self.task.distractors >= 0).any(-1)
        if measure == "exact_match" and self.task.answer_numbers is not None:
            # An answer counts once, however long it is: at its first token.
            return ~_same_answer(self.task.answer_numbers).tril(-1).any(-1)
        return torch.ones_like(self.task.labels, dtype=torch.bool)

    def interval(self, measure: str, label: str | None = None, *, level: float = 0.95, seed: int = 0) -> Interval:
        """Mean over sequences with its bootstrap interval; see `per_sequence` for the arguments."""
        return bootstrap_mean(self.per_sequence(measure, label), level=level, seed=seed)

    def table(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """Every measure of every kind of position, with bootstrap intervals over sequences.

        Args:
            level: coverage of the intervals.
            seed: of the resampling.

        Returns:
            One row a label and measure, in the order of `Task.label_names`: task, label, measure, continuous (whether
            the measure is), mean, low, high, and n, the sequences that have such a position. What no sequence has is
            left out. The units are those of the measure: nats, logits, or a share.
        """
        return scores_table([self], level=level, seed=seed)

    def sequence_means(self, measure: str, label: str) -> Float[Tensor, " some"]:
        """Mean of a measure over the positions of one label, of each sequence that has such a position."""
        chosen = (self.task.labels == self.task.label_names.index(label)) & self._counted(measure)
        some = chosen.any(1)
        values = torch.where(chosen, self.measures[measure].double(), 0)
        return values[some].sum(1) / chosen[some].sum(1)


def _same_answer(numbers: Int[Tensor, "batch scored"]) -> Bool[Tensor, "batch scored scored"]:
    """Whether two scored positions of a sequence are tokens of the same answer."""
    return (numbers[:, :, None] == numbers[:, None, :]) & (numbers >= 0)[:, None, :]


def scores_table(scores: Sequence[TaskScores], *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """What `TaskScores.table` gives, over the sequences of several batches of one task.

    Raises:
        InputError: no scores, or batches with different labels.
    """
    if not scores:
        raise InputError("There are no scores to put in a table.")
    task = scores[0].task
    if any(each.task.label_names != task.label_names for each in scores):
        raise InputError("Scores of tasks whose positions are labelled differently do not belong in one table.")
    rows = []
    for label in task.label_names:
        for measure in scores[0].measures:
            parts = [each.sequence_means(measure, label) for each in scores if measure in each.measures]
            means = torch.cat(parts)
            if len(means):
                found = bootstrap_mean(means, level=level, seed=seed)
                rows.append((task.name, label, measure, measure in CONTINUOUS, *found, len(means)))
    columns = ["task", "label", "measure", "continuous", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


@checked_call
def score_logits(logits: Float[Tensor, "batch time vocabulary"], task: Task) -> TaskScores:
    """Compare logits with a task's answers.

    Raises:
        InputError: the logits are not of the task's batch and length.
    """
    if tuple(logits.shape[:2]) != tuple(task.tokens.shape):
        shapes = f"{tuple(logits.shape)} and {tuple(task.tokens.shape)}"
        raise InputError(f"Logits and tokens of shapes {shapes} do not belong together.")
    # Only the scored rows go to float32: at 150k tokens of vocabulary a full copy would double the peak.
    rows = logits[torch.arange(task.batch, device=logits.device)[:, None], task.positions.to(logits.device)]
    return _score_rows(rows.detach().float(), task)


@checked_call
def score_predictions(probabilities: Float[Tensor, "batch scored outcomes"], task: Task) -> TaskScores:
    """Score a predictor that gives probabilities of a task's `outcomes`: an n-gram, the exact one, a posterior's.

    ``score_predictions(task.probabilities, task)`` is what an ideal predictor gets: its loss is the entropy that no
    model can go below.

    Raises:
        InputError: the task has no `outcomes`, or the probabilities are not of its scored positions and outcomes.
    """
    if task.outcomes is None:
        raise InputError(f"Task {task.name!r} does not say which tokens can come, so that predictions have no place.")
    expected = (*task.positions.shape, len(task.outcomes))
    if tuple(probabilities.shape) != expected:
        raise InputError(f"Predictions of shape {tuple(probabilities.shape)} are not of the task's shape {expected}.")
    named = [task.tokens, task.answers, task.outcomes, *([] if task.distractors is None else [task.distractors])]
    size = 1 + max(int(each.max()) for each in named if each.numel())
    rows = torch.full((*task.positions.shape, size), -torch.inf, dtype=torch.float64, device=task.tokens.device)
    rows[..., task.outcomes] = probabilities.to(rows).log()
    return _score_rows(rows, task)


def _score_rows(rows: Float[Tensor, "batch scored vocabulary"], task: Task) -> TaskScores:
    answers = task.answers.to(rows.device)
    loss = functional.cross_entropy(rows.flatten(0, 1), answers.flatten(), reduction="none").view_as(answers)
    found: dict[str, Tensor] = {"loss": loss, "correct": rows.argmax(-1) == answers}
    if task.distractors is not None:
        right = rows.gather(-1, answers[..., None])
        distractors = task.distractors.to(rows.device)
        there = distractors >= 0
        wrong = rows.gather(-1, distractors.clamp(min=0))
        # NaN where a slot has no wrong answer at all: the comparison is not defined there.
        mean = torch.where(there, wrong, 0).sum(-1) / there.sum(-1)
        found["logit_difference"] = right[..., 0] - mean
        found["preferred"] = ((right > wrong) | ~there).all(-1) & there.any(-1)
    if task.outcomes is not None and task.probabilities is not None:
        outcomes, exact = task.outcomes.to(rows.device), task.probabilities.to(rows)
        predicted = rows.log_softmax(-1)[..., outcomes]
        # An outcome that cannot be costs nothing, even where the model rules it out too: 0 times -inf is NaN.
        crossed = torch.where(exact > 0, exact * predicted, 0)
        found["divergence"] = (torch.special.xlogy(exact, exact) - crossed).sum(-1)
        place = rows.argmax(-1)[..., None] == outcomes
        found["legal"] = (place & (exact > 0)).any(-1)
    where = task.tokens.device
    return TaskScores(task, **{name: value.to(where) for name, value in found.items()})


@checked_call
def score_model(
    model: HookedModel,
    task: Task,
    *,
    fwd_hooks: Sequence[tuple[NamesFilter, HookFunction]] = (),
    batch_size: int | None = None,
) -> TaskScores:
    """Run a hooked model on a task, under `fwd_hooks` if any, and score it. Nothing is kept for a backward pass.

    Args:
        model: a hooked model.
        task: what to run.
        fwd_hooks: as in ``model.run_with_hooks``.
        batch_size: sequences a forward pass; all at once by default. Hooks that depend on the place of a sequence in
            the batch (resample ablation) need all at once.
    """
    step = task.batch if batch_size is None else batch_size
    if step < 1:
        raise InputError(f"batch_size is {batch_size}; at least one sequence a forward pass is needed.")
    parts = []
    with torch.no_grad(), model.hooks(fwd_hooks=list(fwd_hooks)) if fwd_hooks else nullcontext():
        for start in range(0, task.batch, step):
            part = task.sequences(slice(start, start + step))
            parts.append(score_logits(model(part.tokens, attention_mask=part.mask), part))
    numbers = [field.name for field in fields(TaskScores) if field.name != "task"]
    whole = {name: [getattr(part, name) for part in parts] for name in numbers}
    return TaskScores(task, **{name: torch.cat(found) for name, found in whole.items() if found[0] is not None})
