"""Ablation: what a model does without a head, a mixer, an MLP or a layer, on every family alike.

A head is ablated where its whole contribution to the residual stream passes: `hook_head_out`, the tensor the output
projection reads, after skip, gate and norm. A Mamba-1 "head" is a channel, and a site may name a group of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.base import Intervention
from workbench.interventions.reference import Reference, permutation_in_one_cycle
from workbench.model import HookedModel
from workbench.sites import SiteLike, as_sites
from workbench.wrapping import ModelInput

Method: TypeAlias = Literal["zero", "mean", "resample"]


class Ablate(Intervention):
    """Replace what sites write by zeros, by their mean, or by what they wrote on other sequences.

    ``"zero"`` takes the contribution away. ``"mean"`` keeps its average over all sequences and positions of the
    reference (or over sequences at each position, with ``per_position=True``), so that a constant offset the rest of
    the model relies on stays. ``"resample"`` puts in what the site wrote at the same position of another sequence,
    which stays on the distribution of real activations (Chan et al. 2022, "Causal Scrubbing"; the three are compared by
    McGrath et al. 2023, "The Hydra Effect").

    Args:
        sites: places to ablate, or their spellings.
        method: one of the three.
        reference: tokens for another, unablated run whose activations are used, or such a run recorded beforehand. By
            default the run under way, without ablation: then `hooks` needs its tokens.
        reference_mask: 1 or True where the reference tokens are text, 0 where they are padding.
        per_position: for ``"mean"``; the reference must be as long as the run.
        seed: of the permutation that ``"resample"`` takes. The permutation is one cycle, so no sequence keeps its own.

    Raises:
        InputError: a site or option that makes no sense; every message is one sentence.
    """

    def __init__(
        self,
        sites: SiteLike | Iterable[SiteLike],
        method: str = "zero",
        reference: Tensor | Reference | None = None,
        *,
        reference_mask: Tensor | None = None,
        per_position: bool = False,
        seed: int = 0,
    ) -> None:
        self.sites = as_sites(sites)
        if not self.sites:
            raise InputError("There is nothing to ablate: the list of sites is empty.")
        if method not in get_args(Method):
            raise InputError(f"No ablation is called {method!r}; there is: {', '.join(get_args(Method))}.")
        if per_position and method != "mean":
            raise InputError(f"per_position belongs to mean ablation, not to {method}.")
        if reference is not None and method == "zero":
            raise InputError("Zero ablation takes no reference; choose mean or resample.")
        if reference_mask is not None and not isinstance(reference, Tensor):
            raise InputError("reference_mask goes with reference tokens.")
        self.method = method
        self.reference = reference
        self.reference_mask = reference_mask
        self.per_position = per_position
        self.seed = seed

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks for ``model.run_with_hooks(tokens, fwd_hooks=...)`` or ``with model.hooks(fwd_hooks=...)``.

        Mean and resample ablation run the model once, unablated, unless a recorded reference was given.

        Args:
            model: a hooked model.
            tokens: what will be run, texts or tokens; needed for mean and resample ablation without a reference.
            attention_mask: 1 or True where `tokens` are text, 0 where they are padding.

        Raises:
            InputError: the model lacks a site; no tokens where they are needed; one sequence to resample from.
        """
        heads: dict[str, list[int] | None] = {}
        for site in self.sites:
            for name in site.hook_names(model):
                if site.part == "heads":
                    chosen = heads.setdefault(name, [])
                    assert chosen is not None  # heads and whole tensors have hooks of different names
                    chosen.extend(range(site.start, site.stop))
                else:
                    heads[name] = None
        recorded = None if self.method == "zero" else self._reference(model, tokens, attention_mask)
        return [(name, self._edit(name, chosen, recorded)) for name, chosen in heads.items()]

    def _reference(self, model: HookedModel, tokens: ModelInput | None, attention_mask: Tensor | None) -> Reference:
        if isinstance(self.reference, Reference):
            return self.reference
        if self.reference is not None:
            return Reference.record(model, self.reference, self.sites, self.reference_mask)
        if tokens is None:
            raise InputError(f"{self.method} ablation needs the tokens that will be run, or a reference.")
        ids, mask = model.prepared(tokens, attention_mask)
        if self.method == "resample" and ids.shape[0] == 1:
            raise InputError("One sequence cannot be resampled from itself; give several, or a reference.")
        return Reference.record(model, ids, self.sites, mask)

    def _edit(self, name: str, heads: list[int] | None, recorded: Reference | None) -> HookFunction:
        mean = recorded.mean(name, self.per_position) if recorded is not None and self.method == "mean" else None

        def edit(tensor: Tensor, hook: HookPoint) -> Tensor:
            if recorded is None:
                replacement = torch.zeros_like(tensor)
            elif mean is not None:
                if self.per_position and mean.shape[1] != tensor.shape[1]:
                    raise InputError(
                        f"The reference has {mean.shape[1]} positions and the run {tensor.shape[1]}; "
                        "a mean per position needs as many."
                    )
                replacement = mean.to(tensor).expand_as(tensor)
            else:
                replacement = self._resampled(recorded, name, tensor)
            if heads is None:
                return replacement.clone()
            edited = tensor.clone()
            edited[:, :, heads] = replacement[:, :, heads]
            return edited

        return edit

    def _resampled(self, recorded: Reference, name: str, tensor: Tensor) -> Tensor:
        """What another sequence of the reference wrote, for every sequence of the run."""
        value = recorded.recorded(name)
        if value.shape[1:] != tensor.shape[1:]:
            raise InputError(
                f"The reference has {value.shape[1]} positions and the run {tensor.shape[1]}; "
                "resample ablation needs as many."
            )
        own = self.reference is None
        if own and value.shape[0] != tensor.shape[0]:
            raise InputError(
                f"The run has {tensor.shape[0]} sequences and its reference {value.shape[0]}; "
                "run the tokens that the hooks were made with, all at once."
            )
        generator = torch.Generator().manual_seed(self.seed)
        rows = permutation_in_one_cycle(value.shape[0], generator)
        # Another batch may be of any size: its rows are dealt out in shuffled order, again from the first when used up.
        chosen = rows if own else rows[torch.arange(tensor.shape[0]) % len(rows)]
        return value[chosen.to(value.device)].to(tensor)
