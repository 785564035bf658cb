"""What a causal edit is judged by: one number a sequence, from the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.tasks import Task
from workbench.tasks.base import NOT_SCORED

Metric: TypeAlias = Callable[[Tensor], Tensor]
"""From logits ``[batch, time, vocabulary]`` to one number a sequence ``[batch]``; differentiable where gradients are
taken."""

Measure: TypeAlias = Literal["logit_difference", "log_probability", "probability"]


@checked_call
def answer_metric(task: Task, measure: str = "logit_difference", label: str | None = None) -> Metric:
    """How much a model favours a task's answers, averaged over each sequence's scored positions.

    Args:
        task: whose answers, on logits of its tokens.
        measure: ``"logit_difference"`` (the answer's logit less the mean logit of the distractors, or of the whole
            vocabulary where the task has none; linear in the logits), ``"log_probability"`` (nats) or
            ``"probability"``.
        label: only positions with this label; all by default.

    Raises:
        InputError: no such measure or label, or a sequence without such a position.
    """
    if measure not in get_args(Measure):
        raise InputError(f"No measure is called {measure!r}; there is: {', '.join(get_args(Measure))}.")
    if label is not None and label not in task.label_names:
        raise InputError(f"No position is labelled {label!r}; there is: {', '.join(task.label_names)}.")
    chosen = task.labels != NOT_SCORED if label is None else task.labels == task.label_names.index(label)
    wrong = task.distractors
    if measure == "logit_difference" and wrong is not None:
        chosen = chosen & (wrong >= 0).any(-1)  # a slot without a wrong answer has no difference
    if not bool(chosen.any(1).all()):
        raise InputError(f"A sequence of task {task.name!r} has no position that counts.")

    def metric(logits: Float[Tensor, "batch time vocabulary"]) -> Float[Tensor, " batch"]:
        if logits.shape[:2] != task.tokens.shape:
            raise InputError(f"Logits of {[*logits.shape[:2]]} do not belong to tokens of {[*task.tokens.shape]}.")
        device = logits.device
        rows = logits[torch.arange(len(logits), device=device)[:, None], task.positions.to(device)]
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        answers = task.answers.to(device)[..., None]
        if measure != "logit_difference":
            values = rows.log_softmax(-1).gather(-1, answers)[..., 0]
            values = values if measure == "log_probability" else values.exp()
        elif wrong is None:
            values = rows.gather(-1, answers)[..., 0] - rows.mean(-1)
        else:
            there = (wrong >= 0).to(device)
            against = torch.where(there, rows.gather(-1, wrong.clamp(min=0).to(device)), 0).sum(-1)
            values = rows.gather(-1, answers)[..., 0] - against / there.sum(-1).clamp(min=1)
        counted = chosen.to(device)
        return torch.where(counted, values, 0).sum(1) / counted.sum(1)

    return metric
