"""A head's way from a token to a logit with no other layer between: what it would write, had it read one token only.

Take the residual stream after a token, normalise it as the head's block does, project it onto the head's values, gate
them, project them back into the stream and unembed: for a softmax head that is its OV circuit (Elhage et al. 2021, "A
Mathematical Framework for Transformer Circuits"). For every family the head is thought to read that token with weight
1, its convolution sees nothing before it, and gates and norm scales, which depend on the text, are at their average
over a text of random tokens. The sign with which a recurrent head really reads a token is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention.implicit import ImplicitAttention
from workbench.direct_logits.anatomy import Anatomy, Writer, anatomy
from workbench.direct_logits.norms import LinearNorm
from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.probes.heads.options import Looking
from workbench.tasks import Vocabulary

TYPICAL_BATCH, TYPICAL_TIME = 4, 32


@dataclass(frozen=True)
class DirectPath:
    """The direct paths of one mixer's rows (heads or groups of them), with row ``r`` made of some of its channels.

    Attributes:
        adapter: the mixer.
        values: what a row's channels hold after reading each token alone.
        out: what each channel writes into the residual stream.
    """

    adapter: MixerAdapter
    values: Float[Tensor, "tokens rows channels"]
    out: Float[Tensor, "rows channels model"]

    def logits(self, directions: Float[Tensor, "outcomes model"]) -> Float[Tensor, "tokens rows outcomes"]:
        """How much each row, having read a token, raises each outcome's logit, up to the final norm's scale."""
        return torch.einsum("nrc,rco->nro", self.values, (self.out @ directions.T).to(self.values))


def writing(model: HookedModel, looking: Looking) -> tuple[Anatomy, Looking]:
    """The model's anatomy, and of the mixers that are looked at those that write into the residual stream.

    Raises:
        InputError: none of them does.
    """
    found = anatomy(model)
    wanted = [adapter for adapter in looking.wanted if adapter in found.heads]
    if not wanted:
        raise InputError(
            "None of these mixers writes into the residual stream, so no head has a direct path to a logit."
        )
    return found, replace(looking, wanted=wanted)


def token_directions(model: HookedModel, found: Anatomy, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n model"]:
    """What in the residual stream raises each token's logit, up to the final norm's scale."""
    like = model.layout.embed.weight[:1].detach()
    columns = found.direction(tokens, like)
    if found.final_norm is not None and LinearNorm.of(found.final_norm, like).centred:
        columns = columns - columns.mean(-1, keepdim=True)
    return columns


def out_matrix(writer: Writer, like: Tensor) -> Float[Tensor, "channels model"]:
    """What each channel of a mixer writes into the stream; a norm after the mixer is there up to its scale."""
    made = writer.weight().float()
    for norm in writer.norms:
        made = LinearNorm.of(norm, like).apply(made, made.new_ones(1))
    return made


@torch.no_grad()
def direct_paths(
    model: HookedModel, stream: Float[Tensor, "tokens model"], found: Anatomy, looking: Looking
) -> list[DirectPath]:
    """The direct paths of every mixer that is looked at, from a residual stream to what is written into it.

    Args:
        stream: the residual stream after each token, as every layer is to read it.
    """
    gates = _typical_gates(model, looking)
    tokens = torch.zeros(len(stream), 1, dtype=torch.long, device=stream.device)
    like = model.layout.embed.weight[:1].detach()

    def put(resid: Tensor, hook: HookPoint) -> Tensor:
        return stream[:, None].to(resid)

    paths = []
    with model.hooks(fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", put) for layer in looking.layers]):
        for adapter, attention in _runs(model, tokens, looking):
            values = _read_alone(attention)
            if adapter in gates:
                values = values * gates[adapter]
            rows = looking.rows_of(adapter)
            out = out_matrix(found.heads[adapter], like).unflatten(0, (rows, -1))
            paths.append(DirectPath(adapter, values.float().flatten(1).unflatten(1, (rows, -1)), out))
    return paths


def _read_alone(attention: ImplicitAttention) -> Float[Tensor, "tokens heads value"]:
    """The values of one-token texts, a copy of them for every head that shares them."""
    form = attention.form
    heads = form.outputs.shape[2]
    values = form.core.v[:, -1]
    values = values.repeat_interleave(heads // values.shape[1], dim=1)
    return values - values.mean(-1, keepdim=True) if form.centred else values


def _typical_gates(model: HookedModel, looking: Looking) -> dict[MixerAdapter, Float[Tensor, "heads value"]]:
    """The average factor between a head's core and its output projection, of the mixers that have one."""
    known = Vocabulary.of(model)
    generator = torch.Generator().manual_seed(0)
    ids = known.plain()
    drawn = torch.randint(len(ids), (TYPICAL_BATCH, TYPICAL_TIME), generator=generator)
    runs = _runs(model, ids[drawn].to(known.device), looking)
    return {adapter: run.form.gate.mean((0, 1)) for adapter, run in runs if run.form.gate is not None}


def _runs(
    model: HookedModel, tokens: Int[Tensor, "batch time"], looking: Looking
) -> Iterator[tuple[MixerAdapter, ImplicitAttention]]:
    for layer, attention in model.implicit_attentions(tokens, looking.layers, "core", mixer=None):
        adapter = model.mixer(layer, attention.mixer)
        if adapter in looking.wanted:
            yield adapter, attention
