"""The two runs that ``workbench patch`` exchanges activations between, and what is measured on them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.model import HookedModel
    from workbench.probes.patching import Metric
    from workbench.tasks import Task

COLUMNS = ("clean", "corrupted", "answer", "instead")


@dataclass(frozen=True)
class Runs:
    """A run with the answer, one that lacks it, and one metric for both.

    Attributes:
        clean, corrupted: tokens, or tasks.
        metric: from logits to one number a sequence.
        measured: the metric in words.
        tokens: the clean run's tokens as text, where it is a single sequence.
    """

    clean: Task | Tensor
    corrupted: Task | Tensor
    metric: Metric
    measured: str
    tokens: list[str] | None = None


def runs_of_pairs(model: HookedModel, pairs: list[dict[str, str | None]]) -> Runs:
    """Pairs of prompts that differ in what the answer depends on.

    Args:
        pairs: ``clean`` and ``corrupted`` prompts, and an ``answer`` and what to say ``instead``; where these are None,
            the likeliest next tokens of either prompt.

    Raises:
        InputError: prompts that do not align token by token, answers of several tokens, or no difference between them.
    """
    import torch

    clean, corrupted = ([str(pair[name]) for pair in pairs] for name in COLUMNS[:2])
    sides = [[model.to_tokens(text)[0] for text in texts] for texts in (clean, corrupted)]
    for number, (left, right) in enumerate(zip(*sides, strict=True)):
        if len(left) != len(right):
            raise InputError(
                f"{clean[number]!r} has {len(left)} tokens and {corrupted[number]!r} has {len(right)}; "
                "they have to align token by token."
            )
    if len({len(row) for row in sides[0]}) > 1:
        raise InputError("The pairs are of different lengths in tokens; give pairs of one length.")
    tokens, other = (torch.stack(side) for side in sides)
    with torch.no_grad():
        likeliest, without = (model(run)[:, -1].argmax(-1) for run in (tokens, other))
    right = _answers(model, [pair["answer"] for pair in pairs], likeliest)
    wrong = _answers(model, [pair["instead"] for pair in pairs], without)
    if bool((right == wrong).any()):
        at = int((right == wrong).long().argmax())
        same = str(model.to_string(right[at : at + 1]))
        raise InputError(
            f"The answers after {clean[at]!r} and {corrupted[at]!r} are the same, {same!r}; "
            "say with --answer and --instead which two are compared."
        )

    def metric(logits: Tensor) -> Tensor:
        last = logits[:, -1].to(torch.promote_types(logits.dtype, torch.float32))
        of = torch.stack([right, wrong], dim=1).to(last.device)
        values: Tensor = last.gather(1, of)
        return values[:, 0] - values[:, 1]

    first, second = (str(model.to_string(one[:1])) for one in (right, wrong))
    said = f"the logit of {first!r} less that of {second!r}" if len(pairs) == 1 else "logit differences of the answers"
    return Runs(tokens, other, metric, said, model.to_str_tokens(tokens[0]) if len(pairs) == 1 else None)


def runs_of_task(model: HookedModel, name: str, settings: dict[str, Any], seed: int) -> Runs:
    """Two draws of a task; what is measured are the answers of the first.

    Raises:
        InputError: no such task or option, or draws that are not scored at the same positions.
    """
    from workbench.probes.patching import answer_metric
    from workbench.tasks import make_task

    first = settings.pop("seed", seed)
    clean, corrupted = (make_task(name, model, seed=at, **settings) for at in (first, first + 1))
    same = clean.tokens.shape == corrupted.tokens.shape and clean.positions.shape == corrupted.positions.shape
    if not same or not bool((clean.positions == corrupted.positions).all()):
        raise InputError(
            f"Two draws of task {name!r} are not scored at the same positions, so they cannot be exchanged; "
            "choose another task, or --set its lengths."
        )
    return Runs(clean, corrupted, answer_metric(clean), f"logit difference of the answers of {name}")


def read_pairs(file: Path) -> list[dict[str, str | None]]:
    """Pairs from a CSV file with the columns clean, corrupted, and, if wanted, answer and instead.

    Raises:
        InputError: the file cannot be read, lacks a column, or has an empty cell.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV: {getattr(error, 'strerror', None) or error}.") from error
    if not rows:
        raise InputError(f"{file} holds no pairs; its first line names the columns {', '.join(COLUMNS)}.")
    for line, row in enumerate(rows, start=2):
        for name in (*COLUMNS[:2], *(name for name in COLUMNS[2:] if name in row)):
            if not row.get(name):
                raise InputError(f"Line {line} of {file} has nothing in column {name!r}.")
    return [{name: row.get(name) for name in COLUMNS} for row in rows]


def _answers(model: HookedModel, asked: list[str | None], likeliest: Tensor) -> Tensor:
    found = likeliest.clone()
    for row, text in enumerate(asked):
        if text is None:
            continue
        ids = model.to_tokens(text, prepend_bos=False)[0]
        if len(ids) != 1:
            raise InputError(f"{text!r} is {len(ids)} tokens; an answer is one, with the space that stands before it.")
        found[row] = ids[0]
    return found
