"""Sites: the places of a model that can be ablated, and how they are written: ``L5H1``, ``L5.mixer1H0``, ``L5.mlp``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering
from itertools import combinations, pairwise, product
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel

Part: TypeAlias = Literal["heads", "mixer", "mlp", "layer"]

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
