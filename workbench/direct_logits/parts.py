"""What each part of a model wrote into the stream, read off a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from workbench.direct_logits.slices import SliceInput, sliced
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.direct_logits.anatomy import Anatomy
    from workbench.direct_logits.stacks import ResidualStacks
    from workbench.families.base import MixerAdapter


def embeddings(cache: ResidualStacks) -> list[tuple[str, Tensor]]:
    """The embeddings, and what the first block reads besides their sum."""
    model = cache._model()
    embed = cache["hook_embed"]
    found = [("embed", embed)]
    if model.layout.pos_embed is not None:
        found.append(("pos_embed", cache["hook_pos_embed"].expand_as(embed)))
    if not cache._anatomy().summed:
        found.append(("embed_rest", cache["resid_pre", 0] - sum(tensor for _, tensor in found)))
    return found


def layer_parts(
    cache: ResidualStacks, layer: int, mode: str
) -> list[tuple[str, Float[Tensor, "*batch_and_pos d_model"]]]:
    """What a block's mixers and its MLP wrote, and what it did besides adding them."""
    block = cache._model().layout.blocks[layer]
    mixers = [
        (mixer_label(mixer.adapter, len(block.mixers)), cache[f"blocks.{layer}.{mixer.adapter.part}.hook_out"])
        for mixer in block.mixers
        if mixer.writes
    ]
    mlps = [(f"{layer}_mlp_out", cache["mlp_out", layer])] if block.mlp_out is not None else []
    if mode != "all":
        return mlps if mode == "mlp" else mixers
    rest = []
    if not block.additive:
        added = sum(tensor for _, tensor in (*mixers, *mlps))
        rest.append((f"{layer}_rest", cache["resid_post", layer] - cache["resid_pre", layer] - added))
    return [*mixers, *mlps, *rest]


def mixer_label(adapter: MixerAdapter, beside: int) -> str:
    """``0_attn_out`` for a softmax mixer that is alone in its block; else ``0_mixer_out``, ``0_mixer1_out``."""
    part = "attn" if beside == 1 and not adapter.recurrent else adapter.part
    return f"{adapter.layer}_{part}_out"


def site_labels(adapter: MixerAdapter, group: int) -> list[str]:
    """The spelling of a mixer's heads, or of groups of them, as `workbench.sites` has it."""
    from workbench.sites import Site

    starts = range(0, adapter.n_heads, group)
    return [str(Site.heads(adapter.layer, first, first + group, mixer=adapter.index)) for first in starts]


def head_results(
    cache: ResidualStacks, found: Anatomy, adapter: MixerAdapter, pos_slice: SliceInput, group: int
) -> Float[Tensor, "*batch_and_pos heads d_model"]:
    """What each head of a mixer, or each group of them, adds to the stream.

    Raises:
        InputError: the groups do not divide the heads.
    """
    heads = adapter.n_heads
    if group < 1 or heads % group:
        raise InputError(f"Groups of {group} do not divide the {heads} heads of {adapter.place}.")
    out = sliced(cache[f"blocks.{adapter.layer}.{adapter.part}.hook_head_out"], pos_slice, -3)
    return found.heads[adapter].contributions(out.flatten(-2), heads // group)


def neuron_results(
    cache: ResidualStacks, found: Anatomy, layer: int, neuron_slice: SliceInput, pos_slice: SliceInput
) -> Float[Tensor, "*batch_and_pos neuron d_model"]:
    """What each hidden unit of a layer's MLP adds to the stream.

    Raises:
        InputError: the layer has no MLP, or none whose hidden units one matrix reads.
    """
    if layer not in found.neurons:
        raise InputError(f"Layer {layer} has no MLP whose hidden units are read by one matrix.")
    post = sliced(cache["post", layer], pos_slice, -2)
    results = found.neurons[layer].contributions(post, post.shape[-1], neuron_slice)
    return results[..., 0, :] if isinstance(neuron_slice, int) else results
