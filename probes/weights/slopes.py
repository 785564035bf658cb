"""What a mixer's operands are made of, as matrices: their slopes with respect to what the mixer reads.

A family says nothing about its matrices. One pass in which every mixer reads zeros tells them all: the slope of a
query, key or value at zero is its matrix where it is a linear map of the token (softmax attention, at the first
position, where a rotary embedding turns nothing; the value paths of recurrent mixers before their convolution). Where
a convolution or a non-linearity stands between, the slope is the linear part alone: the convolution's tap on the
current token, the activation's slope at zero. `Operand.linear` says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.direct_logits.calls import alone
from workbench.families.base import MixerAdapter
from workbench.forms import MixerForm
from workbench.model import HookedModel

ROWS = 256  # outputs whose slopes are taken in one backward pass
OPERANDS = ("q", "k", "v")


@dataclass(frozen=True)
class Operand:
    """One operand of a mixer as a map of what the mixer reads.

    Attributes:
        weight: slope at zero; one matrix a head, or a group of heads that share it.
        bias: the operand where the mixer reads zeros.
        linear: whether ``x weight + bias`` is the operand for every x, or its linear part alone.
    """

    weight: Float[Tensor, "group d_model size"]
    bias: Float[Tensor, "group size"]
    linear: bool


def operand_slopes(
    model: HookedModel, mixers: Sequence[MixerAdapter], lag: int = 0
) -> dict[MixerAdapter, dict[str, Operand]]:
    """``q``, ``k`` and ``v`` of each mixer as far as it has them.

    Args:
        lag: 0 for what the current token puts into them, 1 for the token before it (RWKV's token shift, a convolution).
    """
    made: dict[tuple[MixerAdapter, str], list[Tensor]] = {}
    with _frozen(model), alone(model):
        at_zero = _pass(model, mixers, torch.zeros(1, 1 + lag, model.cfg.d_model), gradient=False)[1]
        sizes = {key: tensor[0].numel() for key, tensor in at_zero.items()}
        for first in range(0, max(sizes.values()), ROWS):
            rows = min(ROWS, max(sizes.values()) - first)
            leaves, values = _pass(model, mixers, torch.zeros(rows, 1 + lag, model.cfg.d_model), gradient=True)
            for (adapter, name), tensor in values.items():
                mine = range(first, min(first + rows, sizes[adapter, name]))
                if not mine:
                    continue
                chosen = tensor.flatten(1)[range(len(mine)), mine].sum()
                slope = torch.zeros_like(leaves[adapter])
                if chosen.requires_grad:
                    found = torch.autograd.grad(chosen, leaves[adapter], retain_graph=True, allow_unused=True)[0]
                    slope = slope if found is None else found
                made.setdefault((adapter, name), []).append(slope[: len(mine), 0].detach())
        generator = torch.Generator().manual_seed(0)
        trial = torch.randn(2, 1 + lag, model.cfg.d_model, generator=generator)
        trial[:, 1:] = 0  # the token whose part is asked for is the first; nothing else speaks
        told = _pass(model, mixers, trial, gradient=False)[1]
    found_operands: dict[MixerAdapter, dict[str, Operand]] = {adapter: {} for adapter in mixers}
    for (adapter, name), slopes in made.items():
        bias = at_zero[adapter, name][0].detach()
        weight = torch.cat(slopes).unflatten(0, bias.shape).movedim(-1, -2)
        straight = torch.einsum("bd,gds->bgs", trial[:, 0].to(weight), weight) + bias
        difference = (told[adapter, name].detach() - straight).abs().max()
        linear = bool(difference <= 1e-3 * straight.abs().max().clamp(min=1e-30))
        found_operands[adapter][name] = Operand(weight, bias, linear)
    return found_operands


def _pass(
    model: HookedModel, mixers: Sequence[MixerAdapter], read: Float[Tensor, "batch time d_model"], gradient: bool
) -> tuple[dict[MixerAdapter, Tensor], dict[tuple[MixerAdapter, str], Tensor]]:
    """The operands at the last token of a pass in which every mixer reads `read`, whatever the stream holds."""
    leaves: dict[MixerAdapter, Tensor] = {}
    values: dict[tuple[MixerAdapter, str], Tensor] = {}
    rows, time = read.shape[:2]

    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad() if gradient else torch.no_grad())
        for adapter in mixers:
            where = f"blocks.{adapter.layer}.{adapter.part}"

            def replaced(tensor: Tensor, hook: Any, adapter: MixerAdapter = adapter) -> Tensor:
                leaf = read.to(tensor).clone()
                leaves[adapter] = leaf.requires_grad_(True) if gradient else leaf
                return leaves[adapter]

            def recorded(form: MixerForm, adapter: MixerAdapter = adapter) -> None:
                parts = {"q": getattr(form.core, "q", None), "k": getattr(form.core, "k", None)}
                parts["v"] = form.core.v if form.inputs is None else form.inputs
                values.update({(adapter, name): part[:, -1] for name, part in parts.items() if part is not None})

            stack.enter_context(model.points[f"{where}.hook_in"].listening(replaced))
            stack.enter_context(model.points[f"{where}.hook_out"].listening(lambda tensor, hook: tensor.detach()))
            stack.enter_context(adapter.recorded_by(recorded))
        tokens = torch.zeros(rows, time, dtype=torch.long, device=model.cfg.device)
        model._run(tokens, None, max(adapter.layer for adapter in mixers) + 1)
    return leaves, values


@contextmanager
def _frozen(model: HookedModel) -> Iterator[None]:
    """Parameters that need no gradients, so that only the way from what a mixer reads is kept."""
    before = [parameter.requires_grad for parameter in model.wrapped.parameters()]
    try:
        for parameter in model.wrapped.parameters():
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, needed in zip(model.wrapped.parameters(), before, strict=True):
            parameter.requires_grad_(needed)
