"""Ablation: what a model does without a head, a mixer, an MLP or a layer, on every family alike.

A head is ablated where its whole contribution to the residual stream passes: `hook_head_out`, the tensor the output
projection reads, after skip, gate and norm. A Mamba-1 "head" is a channel, and a site may name a group of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import total_ordering
from itertools import combinations, pairwise, product
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.wrapping import ModelInput

Part: TypeAlias = Literal["heads", "mixer", "mlp", "layer"]
Method: TypeAlias = Literal["zero", "mean", "resample"]

_HEADS = r"H(?P<start>\d+)(?::(?P<stop>\d+))?"
_SPELLING = re.compile(rf"L(?P<layer>\d+)(?:\.(?P<part>mixer|mlp)|(?:\.mixer(?P<mixer>\d+))?(?:{_HEADS})?)")
_SPELLINGS = "write L5H1, L5H0:64, L5.mixer, L5.mlp or L5"


@total_ordering
@dataclass(frozen=True)
class Site:
    """A place that can be ablated: ``L5H1``, ``L5H0:64`` (heads 0 to 63), ``L5.mixer``, ``L5.mlp`` or ``L5``.

    Where a block has several mixers (Falcon-H1, Zamba), heads are those of the first one unless another is named, as
    its hooks are: ``L5.mixer1H0``. ``L5.mixer`` is all of them, ``L5.mixer0`` and ``L5.mixer1`` are one.

    Attributes:
        layer: block number, from 0.
        part: what of the block.
        start, stop: the heads ``start .. stop - 1`` where `part` is ``"heads"``, else 0 and 0.
        mixer: which of the block's mixers, from 0; of heads the first by default, of a ``"mixer"`` all (None).

    Raises:
        InputError: no heads in the range, a negative number, or a number of a mixer where `part` is no part of one.
    """

    layer: int
    part: Part = "layer"
    start: int = 0
    stop: int = 0
    mixer: int | None = None

    def __post_init__(self) -> None:
        if self.part not in get_args(Part):
            raise InputError(f"A site has no part {self.part!r}; there is: {', '.join(get_args(Part))}.")
        if self.layer < 0 or self.start < 0:
            raise InputError(f"Layers and heads count from 0: layer {self.layer}, head {self.start}.")
        if self.mixer is not None and (self.mixer < 0 or self.part not in ("heads", "mixer")):
            raise InputError(f"Heads and mixers have a mixer number, from 0; a {self.part} has no {self.mixer}.")
        if self.part == "heads" and self.mixer is None:
            object.__setattr__(self, "mixer", 0)
        if self.part == "heads" and self.stop <= self.start:
            raise InputError(f"Heads {self.start}:{self.stop} of layer {self.layer} are none; the end is exclusive.")
        if self.part != "heads" and (self.start or self.stop):
            raise InputError(f"Only a site of heads has a range of heads, not a {self.part}.")

    @classmethod
    def heads(cls, layer: int, start: int, stop: int | None = None, *, mixer: int = 0) -> Site:
        """Head `start`, or the heads ``start .. stop - 1``, of a layer's mixer."""
        return cls(layer, "heads", start, start + 1 if stop is None else stop, mixer)

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read a site in the spelling that ``str(site)`` writes.

        Raises:
            InputError: the text is no site.
        """
        found = _SPELLING.fullmatch(text.strip())
        if found is None:
            raise InputError(f"{text!r} is no site; {_SPELLINGS}.")
        layer, start, stop, mixer = (
            None if found[name] is None else int(found[name]) for name in ("layer", "start", "stop", "mixer")
        )
        assert layer is not None
        if start is not None:
            return cls.heads(layer, start, stop, mixer=mixer or 0)
        if mixer is not None:
            return cls(layer, "mixer", mixer=mixer)
        return cls(layer, "layer" if found["part"] is None else "mixer" if found["part"] == "mixer" else "mlp")

    def __str__(self) -> str:
        if self.part == "heads":
            heads = f"H{self.start}" + ("" if self.stop == self.start + 1 else f":{self.stop}")
            return f"L{self.layer}" + (f".mixer{self.mixer}" if self.mixer else "") + heads
        number = "" if self.mixer is None else str(self.mixer)
        return f"L{self.layer}" + ("" if self.part == "layer" else f".{self.part}{number}")

    def __lt__(self, other: Site) -> bool:
        """Layer by layer, part by part, mixer by mixer (all of them first), head by head."""
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, str, int, int, int]:
        return self.layer, self.part, -1 if self.mixer is None else self.mixer, self.start, self.stop

    def hook_names(self, model: HookedModel) -> list[str]:
        """Canonical names of the hooks at which `model` is ablated (in softmax models, head outputs are `hook_z`).

        Raises:
            InputError: the model has no such layer, mixer, head or MLP.
        """
        layers = len(model.adapters)
        if self.layer >= layers:
            raise InputError(f"{self} names layer {self.layer}, and the model has layers 0..{layers - 1}.")
        block = f"blocks.{self.layer}"
        if self.part == "heads":
            adapter = model.mixer(self.layer, self.mixer or 0)
            if self.stop > adapter.n_heads:
                has = f"heads 0..{adapter.n_heads - 1}" if adapter.n_heads else "none"
                raise InputError(f"{self} names head {self.stop - 1}, and {adapter.place} has {has}.")
            return [model.points[f"{block}.{adapter.part}.hook_head_out"].name]
        mlp = f"{block}.hook_mlp_out"
        if self.part == "mlp" and mlp not in model.points:
            raise InputError(f"{self} names an MLP, and layer {self.layer} has none.")
        if self.part == "layer":
            self._check_removable(model)
        mixers = [mixer.adapter for mixer in model.layout.blocks[self.layer].mixers]
        if self.part == "mixer" and not mixers:
            raise InputError(f"{self} names a mixer, and layer {self.layer} has none.")
        if self.mixer is not None:
            mixers = [model.mixer(self.layer, self.mixer)]
        tails = [f"{mixer.part}.hook_out" for mixer in mixers] if self.part != "mlp" else []
        if self.part != "mixer" and mlp in model.points:
            tails.append("hook_mlp_out")
        return [model.points[f"{block}.{tail}"].name for tail in tails]

    def _check_removable(self, model: HookedModel) -> None:
        """Refuse a block that is not the identity without its parts: there, no hook takes the whole layer away."""
        layout = model.layout.blocks[self.layer]
        if layout.additive:
            return
        seen: list[Tensor] = []

        def zero(tensor: Tensor, hook: HookPoint) -> Tensor:
            return torch.zeros_like(tensor)

        def keep(tensor: Tensor, hook: HookPoint) -> None:
            seen.append(tensor.detach().clone())

        block = f"blocks.{self.layer}"
        outs = [*(f"{mixer.adapter.part}.hook_out" for mixer in layout.mixers), "hook_mlp_out"]
        parts = [f"{block}.{out}" for out in outs if f"{block}.{out}" in model.points]
        ends = [f"{block}.hook_resid_pre", f"{block}.hook_resid_post"]
        tokens = torch.arange(min(4, model.cfg.d_vocab))[None]
        hooks = [*((part, zero) for part in parts), *((end, keep) for end in ends)]
        with torch.no_grad():
            model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None)
        before, after = seen
        if not torch.allclose(after, before, rtol=1e-3, atol=1e-5):
            raise InputError(
                f"{self} cannot be taken away as a whole: without its mixer and MLP, block {self.layer} of "
                f"{model.cfg.model_name} still changes the residual stream, as by a norm after the sum; "
                f"ablate its parts, for example {self}.mixer."
            )


SiteLike: TypeAlias = "Site | str"


def as_sites(sites: SiteLike | Iterable[SiteLike]) -> list[Site]:
    """Sites from one site, its spelling, or several of them.

    Raises:
        InputError: a spelling is wrong, or the same head or part is named twice.
    """
    if not isinstance(sites, Iterable | Site):
        raise InputError(f"{sites!r} is no site; {_SPELLINGS}.")
    several = [sites] if isinstance(sites, Site | str) else list(sites)
    for site in several:
        if not isinstance(site, Site | str):
            raise InputError(f"{site!r} is no site; head 1 of layer 0 is written 'L0H1', or Site.heads(0, 1).")
    parsed = [site if isinstance(site, Site) else Site.parse(site) for site in several]
    by_layer: dict[int, list[Site]] = {}
    for site in parsed:
        by_layer.setdefault(site.layer, []).append(site)
    for beside in by_layer.values():
        # A layer may have thousands of channels, and sorted ranges overlap only where neighbours do.
        heads = sorted(site for site in beside if site.part == "heads")
        others = [site for site in beside if site.part != "heads"]
        one_a_mixer = {site.mixer: site for site in heads}.values()
        candidates = [*pairwise(heads), *combinations(others, 2), *product(others, one_a_mixer)]
        for one, other in candidates:
            if _overlap(one, other):
                raise InputError(f"{other} overlaps {one}; each place is ablated once.")
    return parsed


def _overlap(a: Site, b: Site) -> bool:
    if a.layer != b.layer:
        return False
    if None not in (a.mixer, b.mixer) and a.mixer != b.mixer:
        return False
    if a.part == b.part == "heads":
        return a.start < b.stop and b.start < a.stop
    # A mixer contains its heads and a layer everything; an MLP shares nothing with the mixer beside it.
    return (a.part == "mlp") == (b.part == "mlp") or "layer" in (a.part, b.part)


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

        names = sorted({name for site in as_sites(sites) for name in site.hook_names(model)})
        ids, mask = model.prepared(tokens, attention_mask)
        with torch.no_grad():
            model.run_with_hooks(ids, fwd_hooks=[(name, keep) for name in names], return_type=None, attention_mask=mask)
        return cls(values, None if mask is None else mask.bool())

    def mean(self, name: str, per_position: bool) -> Float[Tensor, "one time_or_one ..."]:
        """Mean over sequences, and over positions too unless `per_position`; padding does not count."""
        value = self._recorded(name)
        axes = (0,) if per_position else (0, 1)
        if self.mask is None:
            return value.mean(axes, keepdim=True)
        weight = self.mask.to(value).reshape(*self.mask.shape, *[1] * (value.ndim - 2))
        # A position that is padding in every sequence gets 0, and nothing reads it.
        return (value * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True).clamp(min=1)

    def _recorded(self, name: str) -> Tensor:
        if name not in self.values:
            raise InputError(f"The reference holds nothing for {name}; record it with every site that is ablated.")
        return self.values[name]


class Ablate:
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

    @contextmanager
    def applied(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> Iterator[None]:
        """``with ablate.applied(model, tokens): model(tokens)``; see `hooks` for the arguments."""
        with model.hooks(fwd_hooks=self.hooks(model, tokens, attention_mask)):
            yield

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
        value = recorded._recorded(name)
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


def permutation_in_one_cycle(count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
    """A random permutation that is a single cycle, so that for ``count > 1`` nothing maps to itself (Sattolo 1986)."""
    order = torch.randperm(count, generator=generator)
    following = torch.empty(count, dtype=torch.long)
    following[order] = order.roll(-1)
    return following
