"""Sites that are single experts of mixture-of-experts layers."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.studies.edits.method import MethodKind, Surroundings
from workbench.studies.edits.methods.doses import only
from workbench.studies.edits.methods.moving import Scale
from workbench.studies.edits.methods.replacing import Zero
from workbench.studies.edits.placing import Layers, layers_of
from workbench.studies.edits.site import SITES, BoundEdit, SiteKind, Target
from workbench.studies.edits.sites.shapes import numbers


@dataclass(frozen=True)
class _Experts:
    """Where a block keeps its experts: the module's name in the block, and how many there are."""

    name: str
    count: int


_known: weakref.WeakKeyDictionary[HookedModel, dict[int, list[_Experts]]] = weakref.WeakKeyDictionary()


@SITES.register("experts")
class ExpertSites(SiteKind):
    """Single experts of mixture-of-experts layers (Shazeer et al. 2017, arXiv:1701.06538), one a target: ``L3.E5``.

    A layer adds the sum of ``w_e E_e(x)`` over the experts that its router chose. Method ``zero`` takes an expert's
    term away wherever the router chose it, ``scale`` multiplies it. The router is left as it is: the weights ``w`` of
    the other experts do not grow to fill the gap, and no expert takes the place of one that is gone. Experts that every
    token passes (shared ones) are none of these.
    """

    layers: Layers = "all"
    """Those of them that have experts."""
    experts: Literal["all"] | list[int] = "all"
    """Their numbers in each layer; negative ones count from the end."""

    def targets(self, model: HookedModel) -> list[Target]:
        found = experts_of(model)
        asked = layers_of(model, self.layers)
        layers = [layer for layer in asked if layer in found]
        if not layers:
            where = "" if self.layers == "all" else f" in layers {', '.join(map(str, asked))}"
            raise InputError(
                f"{model.cfg.model_name} has no experts{where} that could be edited one by one: looked for a module "
                "that is given each token's chosen experts and their weights, and answers in proportion to the weights."
            )
        targets = []
        for layer in layers:
            for expert in numbers(self.experts, found[layer].count, f"The list of experts of layer {layer}"):
                # One spelling for all of a layer: what is of one sort is controlled by its like.
                at = f"blocks.{layer}.experts"
                targets.append(Target(f"L{layer}.E{expert}", at, layer, more={"expert": expert}))
        return targets

    def binder(self) -> SiteKind:
        return ExpertSites()

    def check(self, model: HookedModel, targets: Sequence[Target], method: MethodKind) -> None:
        if not isinstance(method, (Zero, Scale)):
            raise InputError(
                "Experts are taken away or scaled: choose method zero or scale for sites experts, not "
                f"{type(method).word}."
            )

    def bind(self, targets: Sequence[Target], method: MethodKind, around: Surroundings) -> BoundEdit:
        assert isinstance(method, (Zero, Scale))  # `check` refuses the others when a study is planned
        factor = only(method.factor) if isinstance(method, Scale) else 0.0
        by_layer: dict[int, set[int]] = {}
        for target in targets:
            by_layer.setdefault(target.layer, set()).add(int(target.more["expert"]))
        return BoundEdit([], whole=_reweighted(around, by_layer, factor))


def experts_of(model: HookedModel) -> Mapping[int, _Experts]:
    """The experts of every layer that has some, by its number, found by running two tokens.

    A module with a stack of weight matrices is one of experts if it is given whole numbers and, in the same shape,
    weights, once in a pass, and gives twice as much for twice the weights: then a weight of 0 takes an expert's
    contribution away, and nothing else. Neither names nor architectures matter.

    Raises:
        InputError: a layer has several such modules, whose experts would share their numbers.
    """
    if model not in _known:
        _known[model] = _search(model)
    found = _known[model]
    several = next((layer for layer, there in found.items() if len(there) > 1), None)
    if several is not None:
        names = ", ".join(one.name for one in found[several])
        raise InputError(f"Layer {several} of {model.cfg.model_name} has several sets of experts ({names}), not one.")
    return {layer: there[0] for layer, there in found.items()}


def _search(model: HookedModel) -> dict[int, list[_Experts]]:
    given: dict[nn.Module, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.setdefault(module, []).append((args, kwargs))

    candidates = [
        (block.layer, _Experts(name, count), module)
        for block in model.layout.blocks
        for name, module in block.block.named_modules()
        if (count := _stacked(module)) is not None
    ]
    tokens = torch.zeros(1, 2, dtype=torch.long, device=model.cfg.device)
    with torch.no_grad(), ExitStack() as stack:
        for _, _, module in candidates:
            stack.callback(module.register_forward_pre_hook(note, with_kwargs=True).remove)
        if candidates:
            model(tokens, return_type=None)
    found: dict[int, list[_Experts]] = {}
    with torch.no_grad():
        for layer, experts, module in candidates:
            calls = given.get(module, [])
            # One that several layers share is not one layer's to edit.
            if len(calls) == 1 and _proportional(module, *calls[0]):
                found.setdefault(layer, []).append(experts)
    return found


def _stacked(module: nn.Module) -> int | None:
    """How many matrices a module's own weights stack, the fewest where some experts have none in a stack."""
    counts = [len(weight) for weight in module.parameters(recurse=False) if weight.dim() >= 3]
    return min(counts, default=None)


def _routing(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Int[Tensor, "*n k"], Float[Tensor, "*n k"]] | None:
    """The numbers of the chosen experts and their weights among arguments; None where that is not clear."""
    tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
    whole = [one for one in tensors if one.dtype in (torch.int32, torch.int64)]
    if len(whole) != 1:
        return None
    weights = [one for one in tensors if one.is_floating_point() and one.shape == whole[0].shape]
    return (whole[0], weights[0]) if len(weights) == 1 else None


def _replaced(
    args: tuple[Any, ...], kwargs: dict[str, Any], old: Tensor, new: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with one tensor for another."""
    return (
        tuple(new if one is old else one for one in args),
        {name: new if one is old else one for name, one in kwargs.items()},
    )


def _proportional(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a module gives twice as much for twice the weights; a weight that acts on the input does not do that."""
    routing = _routing(args, kwargs)
    if routing is None:
        return False
    _, weights = routing
    once = module(*args, **kwargs)
    args, kwargs = _replaced(args, kwargs, weights, weights * 2)
    twice = module(*args, **kwargs)
    if not isinstance(once, Tensor):
        return False
    largest = float(twice.abs().max())
    return largest > 0 and float((twice - 2 * once).abs().max()) <= 1e-3 * largest


@contextmanager
def _reweighted(around: Surroundings, by_layer: Mapping[int, set[int]], factor: float) -> Iterator[None]:
    """Some experts' weights multiplied in the run of one prompt, wherever the router chose them.

    Args:
        by_layer: numbers of experts by the number of their layer.
    """
    model = around.model
    found = experts_of(model)
    with ExitStack() as stack:
        for layer, experts in by_layer.items():
            module = model.layout.blocks[layer].block.get_submodule(found[layer].name)
            hook = _reweighting(around, sorted(experts), factor)
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def _reweighting(around: Surroundings, experts: Sequence[int], factor: float) -> Any:
    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        routing = _routing(args, kwargs)
        if routing is None:
            raise InputError(f"{type(module).__name__} is no longer given its experts' numbers and weights.")
        chosen, weights = routing
        meant = torch.isin(chosen, torch.tensor(experts, device=chosen.device))
        if around.positions is not None:
            meant &= _at(around.positions, len(around.prompt.tokens), chosen)
        return _replaced(args, kwargs, weights, torch.where(meant, weights * factor, weights))

    return hook


def _at(positions: Sequence[int], time: int, chosen: Tensor) -> Tensor:
    """Which rows of what a router chose belong to positions, in the shape of the choice but one at its last axis."""
    rows = chosen.shape[:-1]
    if rows.numel() != time:
        raise InputError(f"A router chose experts for {rows.numel()} tokens of a prompt of {time}.")
    there = torch.zeros(time, dtype=torch.bool, device=chosen.device)
    there[list(positions)] = True
    return there.view(*rows, 1)
