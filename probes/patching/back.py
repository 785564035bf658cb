"""Back-patching: what a later layer has worked out is given to an earlier one, to see who could have used it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.interventions import Patch
from workbench.model import HookedModel
from workbench.probes.patching.comparison import Comparison, effect_table
from workbench.probes.patching.edits import Sweep, swept
from workbench.probes.patching.metric import Metric
from workbench.progress import tracked
from workbench.tasks import Task
from workbench.wrapping import ModelInput


@checked_call
def back_patching(
    model: HookedModel,
    run: Task | ModelInput,
    metric: Metric | None = None,
    *,
    positions: Sweep = (-1,),
    sources: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """The residual stream after layer `source`, written over the one after an earlier layer `target`, same position.

    Biran et al. 2024, "Hopping Too Late" (arXiv:2406.12775, section 6): an answer that appears shows that it was worked
    out too late for the layers that would use it.

    Args:
        run: texts, tokens, or a task.
        metric: from logits to one number a sequence; by default a task's `answer_metric`.
        positions: ``"all"`` at once, ``"each"`` in turn, or so the listed ones; the last by default.
        sources, targets: layers; every pair with ``target < source`` by default.

    Returns:
        One row a pair and position: ``source``, ``target``, ``position`` (-1 for all), ``effect`` (the metric with the
        patch less the metric without), ``low``, ``high``, and ``better``, the share of sequences whose metric rises.

    Raises:
        InputError: no such layer or position, or no pair in which the target comes first.
    """
    pair = Comparison.of(model, run, run, metric)
    from_layers, to_layers = (
        range(model.cfg.n_layers) if layers is None else [model.layer_index(layer) for layer in layers]
        for layers in (sources, targets)
    )
    wanted = [
        (late, early, at)
        for late in from_layers
        for early in to_layers
        if early < late
        for at in swept(positions, pair.tokens.shape[1])
    ]
    if not wanted:
        raise InputError("Back-patching needs a target layer before a source layer, and no such pair is listed.")
    with torch.no_grad():
        names = [f"blocks.{layer}.hook_resid_post" for layer in {late for late, _, _ in wanted}]
        _, cache = model.run_with_cache(pair.tokens, names, pair.mask, return_type=None)
    before = pair.value()
    effects = []
    for late, early, at in tracked(wanted, progress, "back-patching"):
        hook = f"blocks.{early}.hook_resid_post"
        patch = Patch(hook, cache, at, source_at=f"blocks.{late}.hook_resid_post")
        effects.append(pair.value(patch.hooks(model, pair.tokens, pair.mask)) - before)
    labels: list[dict[str, object]] = [
        {"source": late, "target": early, "position": -1 if at is None else at} for late, early, at in wanted
    ]
    table = effect_table(labels, effects, level)
    table["better"] = [float((effect > 0).double().mean()) for effect in effects]
    return table
