"""Direct and total effects: what a component says to the unembedding itself, and what losing it does in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.attribution.frozen import frozen
from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions import Ablate, Reference
from workbench.model import HookedModel
from workbench.probes.patching.comparison import Comparison
from workbench.probes.patching.metric import Metric
from workbench.probes.patching.receivers import sites_one_by_one
from workbench.progress import tracked
from workbench.sites import Site, SiteLike
from workbench.tasks import Task, bootstrap_means
from workbench.wrapping import ModelInput

MOST_HEADS = 64  # a mixer with more (Mamba's channels) counts as one component unless heads are asked for


def every_component(model: HookedModel, most_heads: int = MOST_HEADS) -> list[Site]:
    """What writes to the residual stream, in order: heads, or mixers with more than `most_heads` of them, and MLPs."""
    found: list[Site] = []
    for block in model.layout.blocks:
        for one in block.mixers:
            adapter = one.adapter
            if one.writes and adapter.n_heads <= most_heads:
                found += [Site.heads(adapter.layer, head, mixer=adapter.index) for head in range(adapter.n_heads)]
            elif one.writes:
                found.append(Site(adapter.layer, "mixer", mixer=adapter.index if len(block.mixers) > 1 else None))
        if block.mlp_out is not None:
            found.append(Site(block.layer, "mlp"))
    return found


@dataclass(frozen=True)
class DirectEffects:
    """What each component puts into a metric by itself, with the final norm's scale held.

    Attributes:
        components: ``"embed"``, heads or mixers and MLPs by site, what a mixer adds besides its heads (biases) as
            ``"L0.mixer rest"``, and ``"constant"``, what is there with an empty stream (biases of the norm and the
            unembedding).
        values: in the units of the metric.
        total: the metric itself; where it is linear in the logits the values add up to it.
    """

    components: tuple[str, ...]
    values: Float[Tensor, "batch components"]
    total: Float[Tensor, " batch"]

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """One row a component: ``site``, ``direct`` and its bootstrap interval over sequences."""
        found = bootstrap_means(self.values, level=level)
        columns = dict(zip(("direct", "low", "high"), (part.tolist() for part in found), strict=True))
        return pd.DataFrame({"site": self.components, **columns})


@checked_call
def direct_effects(
    model: HookedModel, run: Task | ModelInput, metric: Metric | None = None, *, most_heads: int = MOST_HEADS
) -> DirectEffects:
    """Direct logit attribution of every component: its output through the frozen final norm and the unembedding.

    Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; of a metric that is not linear in the
    logits, or behind a soft cap, to first order.

    Args:
        run: texts, tokens, or a task.
        metric: from logits to one number a sequence; by default a task's `answer_metric`.
        most_heads: mixers with more heads count as one component.

    Raises:
        InputError: a block whose output is no sum of its parts.
    """
    pair = Comparison.of(model, run, run, metric)
    way = _DirectPaths.of(pair, most_heads)
    return DirectEffects(*way.contributions())


@checked_call
def direct_and_total_effects(
    model: HookedModel,
    run: Task | ModelInput,
    metric: Metric | None = None,
    *,
    sites: SiteLike | Sequence[SiteLike] | None = None,
    method: str = "mean",
    reference: Tensor | None = None,
    most_heads: int = MOST_HEADS,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """How a metric changes when a component is ablated, directly and in all, and how much later components repair.

    McGrath et al. 2023, "The Hydra Effect" (arXiv:2307.15771, section 3). The direct effect is what the change of the
    component's own output does to the metric through the final norm, its scale held; the total effect is what the
    ablated run does. ``compensation = total - direct``: where a component helps, both effects are negative and a
    positive compensation is self-repair.

    Args:
        run, metric: as in `direct_effects`.
        sites: components; all heads (mixers with many heads as one) and MLPs by default.
        method, reference, seed: as in `Ablate`; the reference is the run itself by default.

    Returns:
        One row a site: ``site``, ``layer``, ``part``, and ``direct``, ``total`` and ``compensation``, each with
        ``_low`` and ``_high``.

    Raises:
        InputError: a site that the model lacks, or a block whose output is no sum of its parts.
    """
    pair = Comparison.of(model, run, run, metric)
    way = _DirectPaths.of(pair, most_heads)
    chosen = way.sites if sites is None else sites_one_by_one(sites)
    before = pair.value()
    recorded = None
    if method != "zero":
        tokens, mask = (pair.tokens, pair.mask) if reference is None else (reference, None)
        recorded = Reference.record(model, tokens, chosen, mask)
        if reference is None and method == "resample" and len(tokens) == 1:
            raise InputError("One sequence cannot be resampled from itself; give several, or a reference.")
    rows: list[dict[str, object]] = []
    effects: list[Tensor] = []
    for site in tracked(chosen, progress, "ablating"):
        ablation = Ablate([site], method, recorded, seed=seed)
        edited: dict[str, Tensor] = {}
        hooks = ablation.hooks(model, pair.tokens, pair.mask)
        total = pair.value([*hooks, *((name, _keeper(edited)) for name in site.hook_names(model))]) - before
        direct = torch.stack([way.through(name, tensor) for name, tensor in edited.items()]).sum(0)
        rows.append({"site": str(site), "layer": site.layer, "part": site.part})
        effects.append(torch.stack([direct, total, total - direct], dim=1))
    found = bootstrap_means(torch.cat(effects, dim=1), level=level)
    table = pd.DataFrame(rows)
    for place, column in enumerate(("direct", "total", "compensation")):
        for suffix, values in zip(("", "_low", "_high"), found, strict=True):
            table[column + suffix] = values[place::3].tolist()
    return table


class _DirectPaths:
    """The linear map from what components write to a metric, with everything else held as it was in a run.

    Attributes:
        sites: heads or mixers, and MLPs, in order.
        kept: what passed, by hook.
        slopes: the gradient of the metric with respect to it, along the direct path alone.
        value: the metric.
        at_end: the residual stream after the last block.
    """

    def __init__(self, pair: Comparison) -> None:
        self.pair = pair
        self.sites: list[Site] = []
        self.kept: dict[str, Tensor] = {}
        self.slopes: dict[str, Tensor] = {}
        self.value = self.at_end = torch.empty(0)

    @classmethod
    def of(cls, pair: Comparison, most_heads: int) -> _DirectPaths:
        """Run the model once and take the gradients."""
        way, model = cls(pair), pair.model
        for block in model.layout.blocks:
            if not block.additive:
                raise InputError(
                    f"Block {block.layer} of {model.cfg.model_name} puts a norm after the sum of its parts, "
                    "so they have no direct effect of their own."
                )
        blocks = range(model.cfg.n_layers)
        start, end = "blocks.0.hook_resid_pre", f"blocks.{blocks[-1]}.hook_resid_post"
        mlps = [name for layer in blocks if (name := f"blocks.{layer}.hook_mlp_out") in model.points]
        writers = [mixer for block in model.layout.blocks for mixer in block.mixers if mixer.writes]
        outs = [f"blocks.{one.adapter.layer}.{one.adapter.part}.hook_out" for one in writers]
        heads = [model.points[name.replace("hook_out", "hook_head_out")].name for name in outs]
        leaf: tuple[str, HookFunction] = ("hook_embed", lambda x, hook: x.detach().clone().requires_grad_(True))
        names = [start, *heads, *outs, *mlps, end]
        with torch.inference_mode(False), torch.enable_grad(), frozen(model):
            hooks = [leaf, *((name, _keeper(way.kept, attached=True)) for name in names)]
            value = pair.value_with_graph(hooks)
            (slope,) = torch.autograd.grad(value.sum(), way.kept[end], retain_graph=True)
            for name in (start, *outs, *mlps):
                way.slopes[name] = slope
            for head, out in zip(heads, outs, strict=True):
                (way.slopes[head],) = torch.autograd.grad(way.kept[out], way.kept[head], slope, retain_graph=True)
        way.kept = {name: tensor.detach() for name, tensor in way.kept.items()}
        way.value, way.at_end = value.detach(), way.kept[end]
        way.sites = every_component(model, most_heads)
        return way

    def through(self, name: str, edited: Tensor) -> Float[Tensor, " batch"]:
        """What the metric changes by, directly, when a hook shows another tensor."""
        if name not in self.slopes:
            raise InputError(f"{name} writes to no residual stream, and has no direct effect.")
        return ((edited - self.kept[name]) * self.slopes[name]).double().flatten(1).sum(1)

    def contributions(self) -> tuple[tuple[str, ...], Float[Tensor, "batch components"], Float[Tensor, " batch"]]:
        """Names, values and their sum; see `DirectEffects`."""
        model = self.pair.model
        start = "blocks.0.hook_resid_pre"
        parts = {"embed": self._whole(start)}
        for site in self.sites:
            (name,) = site.hook_names(model)
            if site.part != "heads":
                parts[str(site)] = self._whole(name)
                continue
            product = (self.kept[name] * self.slopes[name])[:, :, site.start : site.stop]
            parts[str(site)] = product.double().flatten(1).sum(1)
            if site.stop == model.mixer(site.layer, site.mixer or 0).n_heads:
                of_heads = (self.kept[name] * self.slopes[name]).double().flatten(1).sum(1)
                out = f"blocks.{site.layer}.{model.mixer(site.layer, site.mixer or 0).part}.hook_out"
                number = site.mixer or ""
                parts[f"L{site.layer}.mixer{number} rest"] = self._whole(out) - of_heads
        slope = self.slopes[start]
        in_stream = (self.at_end * slope).double().flatten(1).sum(1)
        parts["constant"] = self.value.double() - in_stream
        return tuple(parts), torch.stack(list(parts.values()), dim=1), self.value.double()

    def _whole(self, name: str) -> Float[Tensor, " batch"]:
        return (self.kept[name] * self.slopes[name]).double().flatten(1).sum(1)


def _keeper(kept: dict[str, Tensor], attached: bool = False) -> HookFunction:
    def keep(tensor: Tensor, hook: HookPoint) -> None:
        kept[hook.name] = tensor if attached else tensor.detach().clone()

    return keep
