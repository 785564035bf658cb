"""Attribution patching: the effect of patching every place at once, to first order, from one backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import pandas as pd
import torch
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.probes.linear.places import At
from workbench.probes.patching.comparison import Comparison, effect_table, gradients
from workbench.probes.patching.edits import Edit, Sweep, axes, chosen_at, sweep_edits
from workbench.probes.patching.metric import Metric
from workbench.progress import tracked
from workbench.tasks import Task
from workbench.wrapping import ModelInput

Method: TypeAlias = Literal["gradient", "integrated", "integrated_at_site"]
EMBED = "hook_embed"


@checked_call
def attribution_patching(
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
    method: str = "gradient",
    steps: int = 10,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """What `activation_patching` would find, estimated: ``(other - own) . d metric / d own`` at every place.

    Nanda 2023, "Attribution Patching"; Syed et al. 2023 (arXiv:2310.10348). Exact where the metric depends on the
    place linearly; saturated softmaxes and norms after large changes are where it errs. Integrated gradients (Hanna et
    al. 2024, arXiv:2403.17806) average the gradient on the way from one run to the other.

    Args:
        run, source, metric, at, layers, positions, by_head, group: as in `activation_patching`.
        method: ``"gradient"`` of `run`; ``"integrated"``: averaged over `steps` runs whose embeddings lie between the
            two (complete: at ``hook_embed`` the effects add up to that of exchanging the runs); or
            ``"integrated_at_site"``: averaged over `steps` runs in which the hook itself lies between, one hook after
            the other (complete at every hook: over all its heads and positions the effects add up to that of patching
            it whole).
        steps: runs of an integral, by the midpoint rule.

    Returns:
        The columns of `activation_patching`.

    Raises:
        InputError: an unknown method, no steps, or runs of different lengths.
    """
    if method not in get_args(Method):
        raise InputError(f"No method is called {method!r}; there is: {', '.join(get_args(Method))}.")
    if steps < 1:
        raise InputError(f"steps is {steps}; an integral takes at least one.")
    pair = Comparison.of(model, run, source, metric)
    if pair.source.shape[1] != pair.tokens.shape[1]:
        raise InputError(
            f"The other run has {pair.source.shape[1]} positions and this one {pair.tokens.shape[1]}; "
            "attribution patching compares position by position."
        )
    chosen = chosen_at(model, at, layers)
    names = [one.name for one in chosen]
    theirs = _recorded(model, pair.source, pair.source_mask, [EMBED, *names])
    mine = _recorded(model, pair.tokens, pair.mask, [EMBED, *names])
    differences = {name: theirs[name] - mine[name] for name in [EMBED, *names]}
    way = [(step + 0.5) / steps for step in range(steps)]
    if method == "gradient":
        slopes = _Gradients(pair, names, {}).taken()
    elif method == "integrated":
        edits = [{EMBED: mine[EMBED] + part * differences[EMBED]} for part in way]
        slopes = _mean([_Gradients(pair, names, edit).taken() for edit in tracked(edits, progress, "integrating")])
    else:
        slopes = {}
        for name in tracked(names, progress, "integrating"):
            edits = [{name: mine[name] + part * differences[name]} for part in way]
            slopes |= _mean([_Gradients(pair, [name], edit).taken() for edit in edits])
    every = sweep_edits(model, chosen, theirs, by_head, group, positions, pair.tokens.shape[1])
    products = {name: slopes[name] * differences[name] for name in names}
    effects = [_at(model, products[place.hook], place) for place in every]
    return effect_table([place.labels for place in every], effects, level, pair.source_value() - pair.value())


@dataclass(frozen=True)
class Agreement:
    """How well estimated effects agree with true ones, over the places of both tables.

    Attributes:
        pearson, spearman: correlations.
        slope: of the true effects on the estimated ones, through the origin; 1 where the sizes agree.
        places: how many places there are.
    """

    pearson: float
    spearman: float
    slope: float
    places: int


@checked_call
def agreement(estimated: pd.DataFrame, true: pd.DataFrame) -> Agreement:
    """Compare two tables of effects place by place. Raises InputError where they share fewer than two places."""
    keys = ["hook", "head", "position"]
    both = estimated.merge(true, on=keys, suffixes=("_estimated", "_true"))
    if len(both) < 2:
        raise InputError(f"The tables share {len(both)} places; at least two are needed to correlate them.")
    x, y = both["effect_estimated"], both["effect_true"]
    slope = float((x * y).sum() / (x * x).sum()) if float((x * x).sum()) else float("nan")
    return Agreement(float(x.corr(y)), float(x.rank().corr(y.rank())), slope, len(both))


class _Gradients:
    """The gradient of the metric at some hooks, in a run in which other hooks show given tensors."""

    def __init__(self, pair: Comparison, names: Sequence[str], edits: dict[str, Tensor]) -> None:
        self.pair, self.names, self.edits = pair, names, edits
        self.kept: dict[str, list[Tensor]] = {name: [] for name in names}

    def taken(self) -> dict[str, Tensor]:
        """By hook, in the shape that a cache has: states with their steps along axis 1."""
        hooks: list[tuple[str, HookFunction]] = [(name, self._start) for name in dict.fromkeys([EMBED, *self.edits])]
        hooks += [(name, self._keep) for name in self.names]
        # The embeddings are where the graph begins, whether or not the parameters want gradients.
        value = self.pair.value_with_graph(hooks)
        every = iter(gradients(value, [tensor for name in self.names for tensor in self.kept[name]]))
        found = {}
        for name in self.names:
            parts = [next(every) for _ in self.kept[name]]
            found[name] = torch.stack(parts, dim=1) if self.pair.model.points[name].per_step else parts[0]
        return found

    def _start(self, tensor: Tensor, hook: HookPoint) -> Tensor:
        edit = self.edits.get(hook.name)
        if edit is not None:
            tensor = edit if hook.step is None else edit[:, hook.step]
        return tensor.detach().clone().requires_grad_(True)

    def _keep(self, tensor: Tensor, hook: HookPoint) -> None:
        self.kept[hook.name].append(tensor)


def _mean(slopes: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    first, *others = slopes
    return {name: sum((one[name] for one in others), first[name]) / len(slopes) for name in first}


def _recorded(model: HookedModel, tokens: Tensor, mask: Tensor | None, names: Sequence[str]) -> dict[str, Tensor]:
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, list(dict.fromkeys(names)), mask, return_type=None)
    return dict(cache)


def _at(model: HookedModel, product: Tensor, place: Edit) -> Tensor:
    """The part of ``gradient x difference`` that belongs to a place, ``[batch]``."""
    time, heads = axes(model, place.hook)
    if place.position is not None:
        product = product.narrow(time, place.position, 1)
    if place.heads is not None and heads is not None:
        product = product.index_select(heads, torch.tensor(place.heads, device=product.device))
    return product.flatten(1).sum(1)
