"""How well a model does a task: a continuous and a discontinuous number for every kind of position.

Loss moves smoothly while accuracy jumps (Schaeffer et al. 2023, "Are Emergent Abilities of Large Language Models a
Mirage?"), so both are always there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from workbench.errors import InputError
from workbench.hooks import HookFunction, NamesFilter
from workbench.model import HookedModel
from workbench.tasks.base import Task
from workbench.tasks.intervals import Interval, bootstrap_mean


@dataclass(frozen=True)
class TaskScores:
    """What a model did at each scored position.

    Attributes:
        task: the task that was scored.
        loss: negative log-probability of the answer, in nats.
        correct: whether the answer had the largest logit.
    """

    task: Task
    loss: Float[Tensor, "batch scored"]
    correct: Bool[Tensor, "batch scored"]

    def per_sequence(self, measure: str, label: str) -> Float[Tensor, " batch"]:
        """Mean of ``"loss"`` (nats) or ``"accuracy"`` (0 to 1) over each sequence's positions of one label.

        Raises:
            InputError: the measure or the label does not exist, or a sequence has no position of that label.
        """
        if measure not in ("loss", "accuracy"):
            raise InputError(f"No measure is called {measure!r}; there is: loss, accuracy.")
        if label not in self.task.label_names:
            raise InputError(f"No position is labelled {label!r}; there is: {', '.join(self.task.label_names)}.")
        chosen = self.task.labels == self.task.label_names.index(label)
        if not bool(chosen.any(1).all()):
            raise InputError(f"A sequence of task {self.task.name!r} has no position labelled {label!r}.")
        values = (self.loss if measure == "loss" else self.correct).double()
        return (values * chosen).sum(1) / chosen.sum(1)

    def interval(self, measure: str, label: str, *, level: float = 0.95, seed: int = 0) -> Interval:
        """Mean over sequences with its bootstrap interval; see `per_sequence` for the arguments."""
        return bootstrap_mean(self.per_sequence(measure, label), level=level, seed=seed)


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
    rows = rows.detach().float()
    answers = task.answers.to(logits.device)
    loss = functional.cross_entropy(rows.flatten(0, 1), answers.flatten(), reduction="none").view_as(answers)
    return TaskScores(task, loss.to(task.tokens.device), (rows.argmax(-1) == answers).to(task.tokens.device))


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
            chosen = slice(start, start + step)
            part = _sequences(task, chosen)
            parts.append(score_logits(model(part.tokens), part))
    return TaskScores(task, torch.cat([p.loss for p in parts]), torch.cat([p.correct for p in parts]))


def _sequences(task: Task, chosen: slice) -> Task:
    """Some sequences of a task."""
    return Task(
        name=task.name,
        tokens=task.tokens[chosen],
        positions=task.positions[chosen],
        answers=task.answers[chosen],
        sources=task.sources[chosen],
        labels=task.labels[chosen],
        label_names=task.label_names,
    )
