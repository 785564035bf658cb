"""Recall against bytes of state, and against the place in the list.

What a model can recall is bounded by what it keeps: keys and values grow with the text, a recurrent state does not
(Arora et al. 2024, "Simple Linear Attention Language Models Balance the Recall-Throughput Tradeoff"; Jelassi
et al. 2024, "Repeat After Me").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
import torch

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.memory.state_size import state_bytes
from workbench.progress import tracked
from workbench.tasks import Task, TaskScores, bootstrap_mean, make_task, score_model
from workbench.tasks.base import NOT_SCORED


def recall_by_bytes(
    models: Iterable[HookedModel],
    task: str,
    over: Mapping[str, Sequence[Any]] | None = None,
    *,
    label: str | None = None,
    batch_size: int | None = 8,
    level: float = 0.95,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """How well each model does a task, beside the bytes that it keeps of such a text.

    Args:
        models: hooked models; each reads its own tokens.
        task: name of a task, such as ``"associative_recall"``, ``"multi_query_recall"`` or ``"passkey"``.
        over: options of the task to sweep, with their values: ``{"pairs": (4, 8, 16)}``.
        label: kind of scored position that counts; any by default.
        batch_size: sequences a forward pass.
        level: coverage of the intervals, a bootstrap over sequences.
        progress: show a progress bar.
        options: other options of the task.

    Returns:
        One row a model and combination: ``model``, ``family``, the swept options, ``time`` (tokens, of the longest
        sequence), ``bytes`` (state of one sequence after so many tokens, see `state_bytes`), ``bits_per_answer``
        (state over the scored tokens of a sequence), ``accuracy`` and ``loss`` (nats), each with ``_low`` and
        ``_high``; so ``exact_match`` of whole answers, where they are several tokens long (a pass key).

    Raises:
        InputError: no such task, option or label.
    """
    swept = dict(over or {})
    combinations = [dict(zip(swept, values, strict=True)) for values in product(*swept.values())]
    jobs = [(model, combination) for model in models for combination in combinations]
    if not jobs:
        raise InputError("There is nothing to run: no model, or an option without values.")
    rows = []
    for model, combination in tracked(jobs, progress, "asking what was read"):
        made = make_task(task, model, **options, **combination)
        scores = score_model(model, made, batch_size=batch_size)
        size = state_bytes(model, made.time)
        answers = float((made.labels != NOT_SCORED).sum(1).double().mean())
        row: dict[str, Any] = {
            "model": model.cfg.model_name,
            "family": model.cfg.family,
            **combination,
            "time": made.time,
            "bytes": size,
            "bits_per_answer": 8 * size / answers,
        }
        for measure in ("accuracy", "exact_match", "loss"):
            if measure not in scores.measures:
                continue
            found = scores.interval(measure, label, level=level)
            row |= {measure: found.mean, f"{measure}_low": found.low, f"{measure}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


@checked_call
def serial_position(
    scores: TaskScores, *, by: str = "label", measure: str = "accuracy", level: float = 0.95
) -> pd.DataFrame:
    """A measure against the place of what is recalled: primacy at the front of the curve, recency at its end.

    Args:
        scores: of a task in which places differ.
        by: ``"label"`` takes the place from labels that end in a number (``item_3`` of ``list_recall``); ``"source"``
            ranks the sources within each sequence, the first one 1.
        measure: as `TaskScores.measures` names it.
        level: coverage of the intervals, a bootstrap over the sequences that have the place.

    Returns:
        One row a place: ``place`` (from 1), ``value``, ``low``, ``high``, ``sequences``.

    Raises:
        InputError: no such measure, labels without numbers, or no sources.
    """
    task = scores.task
    if measure not in scores.measures:
        raise InputError(f"No measure is called {measure!r}; there is: {', '.join(scores.measures)}.")
    if by not in ("label", "source"):
        raise InputError(f"by is {by!r}; a place comes from 'label' or from 'source'.")
    places = _places_by_label(task) if by == "label" else _places_by_source(task)
    if not bool((places > 0).any()):
        raise InputError(f"Task {task.name!r} has no {by}s that tell places of a list.")
    values = scores.measures[measure].double().cpu()
    usable = values.isfinite()
    rows = []
    for place in range(1, int(places.max()) + 1):
        here = (places == place) & usable
        counted = here.any(1)
        if not bool(counted.any()):
            continue
        each = torch.where(here, values, 0).sum(1)[counted] / here.sum(1)[counted]
        found = bootstrap_mean(each, level=level)
        rows.append(
            {
                "place": place,
                "value": found.mean,
                "low": found.low,
                "high": found.high,
                "sequences": int(counted.sum()),
            }
        )
    return pd.DataFrame(rows)


@checked_call
def primacy_and_recency(curve: pd.DataFrame, ends: int = 2) -> dict[str, float]:
    """How far the first and the last `ends` places of a serial position curve lie above the middle.

    Raises:
        InputError: the curve is too short to have a middle.
    """
    values = curve.sort_values("place")["value"].to_numpy()
    if ends < 1 or len(values) <= 2 * ends:
        raise InputError(f"A curve of {len(values)} places has no middle between {ends} at each end.")
    middle = float(values[ends:-ends].mean())
    return {"primacy": float(values[:ends].mean()) - middle, "recency": float(values[-ends:].mean()) - middle}


def _places_by_label(task: Task) -> torch.Tensor:
    numbers = [re.search(r"(\d+)$", name) for name in task.label_names]
    by_label = torch.tensor([0 if found is None else int(found[1]) for found in numbers])
    labels = task.labels.cpu()
    return torch.where(labels == NOT_SCORED, 0, by_label[labels.clamp_min(0)])


def _places_by_source(task: Task) -> torch.Tensor:
    sources = torch.where(task.labels == NOT_SCORED, -1, task.sources).cpu()
    places = torch.zeros_like(sources)
    for row, listed in enumerate(sources):
        ranked = listed[listed >= 0].unique(sorted=True)
        known = listed >= 0
        places[row, known] = torch.searchsorted(ranked, listed[known]) + 1
    return places
