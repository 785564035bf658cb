"""Activation patching: one place after the other gets what it was in another run, and the effect is measured."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from workbench.arguments import checked_call
from workbench.interventions import Patch
from workbench.model import HookedModel
from workbench.probes.linear.places import At
from workbench.probes.patching.comparison import Comparison, effect_table
from workbench.probes.patching.edits import Sweep, chosen_at, sweep_edits
from workbench.probes.patching.metric import Metric
from workbench.progress import tracked
from workbench.tasks import Task
from workbench.wrapping import ModelInput


@checked_call
def activation_patching(
    model: HookedModel,
    run: Task | ModelInput,
    source: Task | ModelInput,
    metric: Metric | None = None,
    *,
    at: At = "resid_post",
    layers: Sequence[int] | int | None = None,
    positions: Sweep = "each",
    by_head: bool = True,
    group: int = 1,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """What each place does for a metric: the metric with that place from another run, less the metric without.

    Meng et al. 2022 (arXiv:2202.05262, section 2) for layers and positions; Heimersheim and Nanda 2024
    (arXiv:2404.15255) on which run is which: with `run` the corrupted one, a place that restores the metric suffices
    (denoising); with `run` the clean one, a place that breaks it is necessary (noising). One forward pass a place.

    Args:
        run: texts, tokens, or a task (which brings padding and metric).
        source: the run that activations are taken from, as long as `run`.
        metric: from logits to one number a sequence; by default a task's `answer_metric`.
        at, layers: sites, short names, hook names, globs or tails, as in `workbench.probes.linear.places`; recurrent
            states (``"state"``) too.
        positions: ``"all"`` at once, ``"each"`` in turn, or so the listed ones.
        by_head: hooks with an axis of heads are patched head by head.
        group: neighbouring heads in one edit, for channels.

    Returns:
        One row a place: ``hook``, ``layer``, ``head`` (first of its group; -1 for whole tensors), ``position`` (-1 for
        all), ``effect`` with its bootstrap interval over sequences ``low`` and ``high``, and ``share`` of the effect of
        exchanging the runs.

    Raises:
        InputError: runs of different lengths, or an option that makes no sense.
    """
    pair = Comparison.of(model, run, source, metric)
    chosen = chosen_at(model, at, layers)
    time = pair.tokens.shape[1]
    with torch.no_grad():
        _, cache = model.run_with_cache(pair.source, [one.name for one in chosen], pair.source_mask, return_type=None)
    every = sweep_edits(model, chosen, cache, by_head, group, positions, time)
    before = pair.value()
    effects = []
    for place in tracked(every, progress, "patching"):
        heads = None if place.heads is None else list(place.heads)
        patch = Patch(place.hook, cache, place.position, heads=heads)
        effects.append(pair.value(patch.hooks(model, pair.tokens, pair.mask)) - before)
    return effect_table([place.labels for place in every], effects, level, pair.source_value() - before)
