"""The field's two approximations beside the exact attribution, on the matrices of any family.

Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928, section 3) multiplies the layers' mean matrices, half of
each replaced by the identity for the residual stream; mixers side by side in a layer are averaged, and one that feeds
another (Zamba's attention) is a step before it. Gradient-weighted attribution (Chefer, Gur and Wolf 2021,
arXiv:2103.15679, equations 5 and 6) weighs each entry by how the target depends on it and keeps the positive part.
Signed matrices of recurrent mixers enter by their absolute values in the first, with their signs in the second.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention import ImplicitAttention
from workbench.attribution import target as targets
from workbench.forms import MixerForm
from workbench.kernels.blocking import blocks

if TYPE_CHECKING:
    from workbench.model import HookedModel


@torch.no_grad()
def rollout(
    model: HookedModel, tokens: Int[Tensor, "batch time"], mask: Int[Tensor, "batch time"] | None, position: int = -1
) -> Float[Tensor, "batch time"]:
    """How much of each source is in the residual stream at `position`, rows summing to 1: no target enters."""
    mixed = torch.eye(tokens.shape[1], device=tokens.device)
    found = model.implicit_attentions(tokens, attention_mask=mask, mixer=None)
    for layer, attentions in groupby(found, key=itemgetter(0)):
        read, written = mixed, list[Tensor]()
        for _, attention in attentions:
            step = _mean(attention) @ read
            if model.layout.blocks[layer].mixers[attention.mixer].writes:
                written.append(step)
            else:
                read = 0.5 * step + 0.5 * read
        mixed = 0.5 * sum(written) / len(written) + 0.5 * mixed
    rows: Tensor = mixed[:, position]
    return rows / rows.sum(-1, keepdim=True)


def _mean(attention: ImplicitAttention) -> Float[Tensor, "batch time source"]:
    """The mean over heads of the absolute matrix, its rows summing to 1."""
    batch, units, time, source = attention.shape
    total = torch.zeros(batch, time, source, device=attention.recorded.device)
    for span in blocks(units, batch * time * source):
        total += attention.dense(list(range(span.start, span.stop))).abs().sum(1).to(total)
    return total / total.sum(-1, keepdim=True).clamp(min=1e-30)


def gradient_weighted(
    model: HookedModel,
    tokens: Int[Tensor, "batch time"],
    mask: Int[Tensor, "batch time"] | None,
    target: targets.Target = None,
    position: int = -1,
) -> Float[Tensor, "batch time"]:
    """Relevance of each source for the target at `position`, along the layers' matrices weighted by their gradients.

    The gradient of the target with respect to an entry ``A[t, s]`` is the gradient at the core's output `t` times the
    value at `s`, so no matrix has to be in the graph.
    """
    forms: list[MixerForm] = []
    batch, time = tokens.shape
    # Gradients are asked for at the embedding, since the weights may not need any.
    embedded = model.points["hook_embed"].listening(lambda x, hook: x.detach().requires_grad_(True))
    with torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(embedded)
        for adapter in model.layout.every_adapter:
            stack.enter_context(adapter.recorded_by(forms.append))
        logits = model._run(tokens, mask, None)[0][:, position]
        chosen = targets.weights(target, logits.detach(), model.tokens)
        gradients = torch.autograd.grad((logits * chosen).sum(), [form.z for form in forms], allow_unused=True)
    relevance = torch.eye(time, device=tokens.device).expand(batch, time, time)
    with torch.no_grad():
        for form, gradient in zip(forms, gradients, strict=True):
            if gradient is not None:
                relevance = relevance + _weighted(form, gradient).to(relevance) @ relevance
    rows: Tensor = relevance[:, position]
    return rows


def _weighted(form: MixerForm, gradient: Float[Tensor, "batch time heads value"]) -> Float[Tensor, "batch time source"]:
    """The mean over heads of the positive part of the matrix times its gradient."""
    attention = ImplicitAttention.from_form(form)
    batch, units, time, source = attention.shape
    shared = units // form.core.v.shape[2]
    total = torch.zeros(batch, time, source, dtype=form.z.dtype, device=form.z.device)
    for span in blocks(units, 3 * batch * time * source):
        chosen = list(range(span.start, span.stop))
        values = form.core.v[:, :, [unit // shared for unit in chosen]]
        by_entry = torch.einsum("bthv,bshv->bhts", gradient[:, :, chosen].to(values.dtype), values)
        total += (attention.dense(chosen) * by_entry).clamp(min=0).sum(1).to(total)
    return total / units
