"""Exact attribution: what each source puts into a logit, with everything held fixed but the values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from workbench.attribution import target as targets
from workbench.attribution.frozen import frozen
from workbench.attribution.result import Attribution
from workbench.errors import InputError
from workbench.families.base import BlockLayout

if TYPE_CHECKING:
    from workbench.model import HookedModel


def attribute(
    model: HookedModel,
    tokens: Int[Tensor, "batch time"],
    mask: Int[Tensor, "batch time"] | None,
    target: targets.Target = None,
    position: int = -1,
) -> Attribution:
    """What every token, MLP and bias put into one logit a row; see `HookedModel.attribute`."""
    time = tokens.shape[1]
    if any(parameter.is_inference() for parameter in model.wrapped.parameters()):
        raise InputError(
            f"{model.cfg.model_name} was loaded in torch.inference_mode(), so it has no gradients to attribute with; "
            "load it outside."
        )
    if not -time <= position < time:
        raise InputError(f"Position {position} is outside the {time} tokens.")
    position %= time
    leaves: dict[str, Tensor] = {}
    logits: list[Tensor] = []
    biases = [parameter for name, parameter in model.wrapped.named_parameters() if "bias" in name.rsplit(".", 1)[-1]]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        frozen(model),
        _needing_gradients(biases),
        ExitStack() as stack,
    ):
        sources = [("tokens", model.layout.embed), ("positions", model.layout.pos_embed)]
        mlps = [[(f"mlp{block.layer}.{i}", mlp) for i, mlp in enumerate(_mlps(block))] for block in model.layout.blocks]
        for name, module in [*sources, *chain.from_iterable(mlps)]:
            if module is not None:
                handle = module.register_forward_hook(_Cut(leaves, name, len(tokens)))
                stack.callback(handle.remove)
        head = unembedding(model.wrapped)
        if head is not None:
            handle = head.register_forward_hook(lambda module, args, output: logits.append(output))
            stack.callback(handle.remove)
        # Copies: autograd keeps no tensors that were made in inference mode.
        full = model._run(tokens.clone(), None if mask is None else mask.clone(), None)[0]
        # A soft cap after the unembedding is no linear map: the logit that is explained is before it.
        seen = (logits[-1] if logits and capped(model.wrapped) else full)[:, position]
        chosen = targets.weights(target, full[:, position].detach(), model.tokens)
        value = (seen * chosen.to(seen)).sum(-1)
        gradients = torch.autograd.grad(value.sum(), list(leaves.values()), retain_graph=True, allow_unused=True)
        parts = {name: _product(leaves[name], g) for name, g in zip(leaves, gradients, strict=True)}
        of_biases = torch.stack([_of_biases(one, biases) for one in value]) if biases else torch.zeros_like(value)
    batch = tokens.shape[0]
    zeros = value.new_zeros(batch, time)
    layers = [sum((parts[name].reshape(batch, time) for name, _ in inside), zeros) for inside in mlps]
    return Attribution(
        tokens=parts["tokens"],
        positions=parts.get("positions", zeros),
        mlps=torch.stack(layers, dim=1),
        biases=of_biases.detach(),
        value=value.detach(),
        input=tokens,
        position=position,
    )


def _mlps(block: BlockLayout) -> list[nn.Module]:
    """The modules whose non-linearity is no mixer's: held fixed, what they write is a source of its own."""
    out = block.mlp_out
    return [*block.inner_mlps, *(() if out is None else (*out.also, out.module))]


def _product(leaf: Tensor, gradient: Tensor | None) -> Tensor:
    return leaf.new_zeros(leaf.shape[:-1]) if gradient is None else (leaf * gradient).sum(-1).detach()


def _of_biases(value: Tensor, biases: list[nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(value, biases, retain_graph=True, allow_unused=True)
    parts = [(bias * g).sum() for bias, g in zip(biases, gradients, strict=True) if g is not None]
    return torch.stack(parts).sum() if parts else torch.zeros_like(value)


@contextmanager
def _needing_gradients(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, needed in zip(parameters, before, strict=True):
            parameter.requires_grad_(needed)


class _Cut:
    """A forward hook that makes what a module returns a source of its own, a row of it for every sequence."""

    def __init__(self, leaves: dict[str, Tensor], name: str, batch: int) -> None:
        self._leaves, self._name, self._batch = leaves, name, batch

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        first: Tensor = output[0] if isinstance(output, tuple) else output
        alone = first.detach()
        if self._name == "positions":  # one table row a position, which all sequences share until here
            alone = alone.expand(self._batch, *alone.shape[-2:]).clone()
        leaf = self._leaves[self._name] = alone.requires_grad_(True)
        return (leaf, *output[1:]) if isinstance(output, tuple) else leaf


CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


def capped(module: nn.Module) -> bool:
    """Whether the logits go through a soft cap, by the names that configurations have for it."""
    config = getattr(module, "config", None)
    return any(getattr(config, name, None) is not None for name in CAPS)


def unembedding(module: nn.Module) -> nn.Module | None:
    """The module that writes the logits, or None where a model does not say."""
    getter = getattr(module, "get_output_embeddings", None)
    head = getter() if getter is not None else getattr(module, "unembed", None)
    return head if isinstance(head, nn.Module) else None
