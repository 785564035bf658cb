"""Activations of an unablated run, kept to put in the place of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.sites import Site, SiteLike, as_sites
from workbench.wrapping import ModelInput


@dataclass(frozen=True)
class Reference:
    """Activations of an unablated run, from which mean and resample ablation take their replacements.

    Attributes:
        values: recorded tensor by canonical hook name, each ``[batch, time, ...]``.
        mask: which positions are real text, or None for all.
    """

    values: dict[str, Tensor]
    mask: Bool[Tensor, "batch time"] | None = None

    @classmethod
    def record(
        cls,
        model: HookedModel,
        tokens: ModelInput,
        sites: SiteLike | Iterable[SiteLike],
        attention_mask: Int[Tensor, "batch time"] | Bool[Tensor, "batch time"] | None = None,
    ) -> Reference:
        """Run the model as it is on texts or tokens and keep what passes at the sites, and the mask of padding."""
        values: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: HookPoint) -> None:
            values[hook.name] = tensor.detach()

        # One by one: what is recorded may overlap, as what is ablated at once may not.
        several = [sites] if isinstance(sites, Site | str) else list(sites)
        names = sorted({name for site in several for one in as_sites(site) for name in one.hook_names(model)})
        ids, mask = model.prepared(tokens, attention_mask)
        with torch.no_grad():
            model.run_with_hooks(ids, fwd_hooks=[(name, keep) for name in names], return_type=None, attention_mask=mask)
        return cls(values, None if mask is None else mask.bool())

    def mean(self, name: str, per_position: bool) -> Float[Tensor, "one time_or_one ..."]:
        """Mean over sequences, and over positions too unless `per_position`; padding does not count."""
        value = self.recorded(name)
        axes = (0,) if per_position else (0, 1)
        if self.mask is None:
            return value.mean(axes, keepdim=True)
        weight = self.mask.to(value).reshape(*self.mask.shape, *[1] * (value.ndim - 2))
        # A position that is padding in every sequence gets 0, and nothing reads it.
        return (value * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True).clamp(min=1)

    def recorded(self, name: str) -> Tensor:
        """What passed at a hook. Raises InputError where nothing was recorded."""
        if name not in self.values:
            raise InputError(f"The reference holds nothing for {name}; record it with every site that is ablated.")
        return self.values[name]


def permutation_in_one_cycle(count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
    """A random permutation that is a single cycle, so that for ``count > 1`` nothing maps to itself (Sattolo 1986)."""
    order = torch.randperm(count, generator=generator)
    following = torch.empty(count, dtype=torch.long)
    following[order] = order.roll(-1)
    return following
