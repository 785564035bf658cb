"""Where a model's parts write and what reads them: found once, in one short pass, and kept with the model."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.direct_logits.calls import Call, same, same_up_to_rounding, watched_pass
from workbench.direct_logits.matrices import AffineMap
from workbench.direct_logits.norms import LinearNorm, is_norm
from workbench.direct_logits.slices import SliceInput, sliced
from workbench.errors import InputError, UnsupportedFamilyError
from workbench.families.base import MixerAdapter, Site
from workbench.families.recurrent import RecurrentAdapter

if TYPE_CHECKING:
    from workbench.cache import ActivationCache
    from workbench.running import RunnableModel

_found: weakref.WeakKeyDictionary[nn.Module, Anatomy] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Writer:
    """How the channels of a mixer's heads, or of an MLP's neurons, get into the residual stream.

    Attributes:
        projection: the output matrix.
        norms: what normalises its output before it is added (Gemma-2), in order.
        scale: the multiplier after that (Granite, Falcon-H1).
    """

    projection: AffineMap
    norms: tuple[nn.Module, ...]
    scale: float

    def weight(self) -> Float[Tensor, "in model"]:
        """The output matrix times the multiplier; norms, which depend on the input, are left out."""
        return self.projection.weight * self.scale if self.scale != 1.0 else self.projection.weight

    def contributions(
        self, whole: Float[Tensor, "*batch in"], groups: int, chosen: SliceInput = None
    ) -> Float[Tensor, "*batch _ model"]:
        """What neighbouring channels add to the stream, with the norms' scales held as they were.

        Args:
            whole: all channels that the output matrix read.
            groups: how many groups they are cut into.
            chosen: which of the groups, all by default.
        """
        weight = self.projection.weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        chosen = [chosen] if isinstance(chosen, int) else chosen
        parts = sliced(whole.to(wide).unflatten(-1, (groups, -1)), chosen, -2)
        cut = sliced(weight.to(wide).unflatten(0, (groups, -1)), chosen, 0)
        made = torch.einsum("...gp,gpd->...gd", parts, cut)
        if self.norms:
            total = self.projection.call(whole.to(weight.dtype))
            for norm in self.norms:
                linear, after = LinearNorm.of(norm, total), type(norm).forward(norm, total)
                made = linear.apply(made, linear.inverse_scale(total, after)[..., None, :])
                total = after
        return made * self.scale if self.scale != 1.0 else made

    def explains(self, whole: Float[Tensor, "batch time in"], written: Float[Tensor, "batch time model"]) -> bool:
        """Whether this is how `whole` became what was added to the stream."""
        total = self.projection.call(whole.to(self.projection.like.dtype))
        for norm in self.norms:
            total = type(norm).forward(norm, total)
        return same_up_to_rounding(total * self.scale, written)


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model that direct paths lead through.

    Attributes:
        heads: the writer of every mixer that writes into the residual stream.
        neurons: the writer of every block's MLP whose hidden units one matrix reads.
        inward: the matrices that such an MLP's hidden units are made by: the one before the non-linearity, and in a
            gated MLP the other one.
        reading: the norm before a block's mixer (False) and before its MLP (True), where there is one.
        final_norm: before the unembedding, or None.
        unembed: from the normalised stream to the logits.
        factor: what the logits are multiplied with (Granite, MiniCPM), before any soft cap.
        summed: whether the first block reads the sum of the embeddings.
    """

    heads: dict[MixerAdapter, Writer]
    neurons: dict[int, Writer]
    inward: dict[int, tuple[AffineMap, ...]]
    reading: dict[tuple[int, bool], nn.Module]
    final_norm: nn.Module | None
    unembed: AffineMap
    factor: float
    summed: bool

    def norm_before(self, layer: int, mlp_input: bool, n_layers: int) -> nn.Module | None:
        """The norm through which a layer (or, from layer `n_layers`, the unembedding) reads the stream."""
        return self.final_norm if layer == n_layers else self.reading.get((layer, mlp_input))

    def direction(self, tokens: Tensor, like: Tensor) -> Float[Tensor, "*tokens model"]:
        """What a token's logit is the product with, in the stream divided by the final norm's scale."""
        weight = self.unembed.weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        columns = weight.T[tokens.to(weight.device)].to(wide) * self.factor
        return columns if self.final_norm is None else columns * LinearNorm.of(self.final_norm, like).weight

    def constant(self, tokens: Tensor, like: Tensor) -> Float[Tensor, "*tokens"]:
        """What the biases of the final norm and of the unembedding put into a token's logit."""
        weight, bias = self.unembed.weight, self.unembed.bias
        wide = torch.promote_types(weight.dtype, torch.float32)
        tokens = tokens.to(weight.device)
        found = bias[tokens].to(wide)
        if self.final_norm is not None:
            found = found + weight.T[tokens].to(wide) @ LinearNorm.of(self.final_norm, like).bias
        return found * self.factor


def anatomy(model: RunnableModel) -> Anatomy:
    """A model's anatomy; the first question costs a forward pass over eight tokens.

    Raises:
        UnsupportedFamilyError: a head's way to the stream, or the stream's to the logits, is not linear.
        InputError: the model was unwrapped.
    """
    if model.wrapped not in _found:
        calls, cache, logits = watched_pass(model)
        _found[model.wrapped] = _anatomy(model, calls, cache, logits)
    return _found[model.wrapped]


def _anatomy(model: RunnableModel, calls: list[Call], cache: ActivationCache, logits: Tensor) -> Anatomy:
    heads: dict[MixerAdapter, Writer] = {}
    neurons: dict[int, Writer] = {}
    inward: dict[int, tuple[AffineMap, ...]] = {}
    reading: dict[tuple[int, bool], nn.Module] = {}
    for block in model.layout.blocks:
        inside = [call for call in calls if call.layer == block.layer]
        for placed in block.mixers:
            if placed.writes:
                heads[placed.adapter] = _head_writer(placed.adapter, placed.out, inside, cache)
        if block.mlp_post is not None and block.mlp_out is not None and not block.mlp_out.also:
            down = next((call for call in inside if call.module is block.mlp_post.module), None)
            if down is not None:
                chain = _norms_after(down, block.mlp_out.module, inside)
                writer = None if chain is None else Writer(_map(down), chain, block.mlp_out.scale)
                post, out = (cache[f"blocks.{block.layer}.{name}"] for name in ("mlp.hook_post", "hook_mlp_out"))
                if writer is not None and writer.explains(post, out):
                    neurons[block.layer] = writer
                    inward[block.layer] = _inward(inside, cache.get(f"blocks.{block.layer}.mlp.hook_pre"))
        reading.update(_norms_before(block.layer, inside, cache))
    summed = torch.equal(cache["hook_embed"] + cache.get("hook_pos_embed", 0), cache["resid_pre", 0])
    return Anatomy(
        heads, neurons, inward, reading, model.layout.final_norm, *_unembedding(model, calls, cache, logits), summed
    )


def _map(call: Call) -> AffineMap:
    return AffineMap.of(call.module, call.read, call.written)


def _head_writer(adapter: MixerAdapter, out: Site, inside: list[Call], cache: ActivationCache) -> Writer:
    where = f"blocks.{adapter.layer}.{adapter.part}"
    whole, written = cache[f"{where}.hook_head_out"].flatten(2), cache[f"{where}.hook_out"]
    own = {*adapter.module.modules()}
    mixer = next((call for call in inside if call.module is adapter.module), None)
    for call in reversed(inside):
        if call.module in own and call.module._parameters and same(call.read, whole):
            norms = _norms_after(call if mixer is None else mixer, out.module, inside)
            writer = None if norms is None else Writer(_map(call), norms, out.scale)
            if writer is not None and writer.explains(whole, written):
                return writer
    if isinstance(adapter, RecurrentAdapter):
        norms = () if mixer is None else _norms_after(mixer, out.module, inside)
        writer = (
            None if norms is None else Writer(AffineMap(adapter.project_out, whole.shape[-1], whole), norms, out.scale)
        )
        if writer is not None and writer.explains(whole, written):
            return writer
    raise UnsupportedFamilyError(
        f"The heads of {adapter.place} ({type(adapter.module).__name__}) do not reach the residual stream through one "
        "matrix and norms, so what each of them writes cannot be told."
    )


def _inward(inside: list[Call], pre: Tensor | None) -> tuple[AffineMap, ...]:
    """The matrices that make an MLP's hidden units, told by what stands before the non-linearity; none if none does."""
    if pre is None:
        return ()
    matrices = [call for call in inside if call.module._parameters and call.written.shape[-1] == pre.shape[-1]]
    first = next((call for call in matrices if same(call.written, pre) and not is_norm(call.module)), None)
    if first is None:
        return ()
    others = [call for call in matrices if call is not first and same(call.read, first.read)]
    return (_map(first), *(_map(call) for call in others[:1]))


def _norms_after(start: Call, end: nn.Module, inside: list[Call]) -> tuple[nn.Module, ...] | None:
    """The norms between a call's output and what module `end` returns; None where something else is there."""
    found: list[nn.Module] = []
    stream, done = start.written, start.module is end or not any(call.module is end for call in inside)
    for call in inside[inside.index(start) + 1 :]:
        if done:
            break
        if call.module is not end and same(call.written, stream):
            continue
        if is_norm(call.module) and same(call.read, stream):
            found.append(call.module)
            stream, done = call.written, call.module is end
    return tuple(found) if done else None


def _norms_before(layer: int, inside: list[Call], cache: ActivationCache) -> dict[tuple[int, bool], nn.Module]:
    """The norms that read the stream before the mixer and before the MLP, which may be one and the same."""
    start = cache["resid_pre", layer]
    middle = cache.get(f"blocks.{layer}.hook_resid_mid", start)
    fed = [cache[name] for name in cache if name.startswith(f"blocks.{layer}.mixer") and name.endswith(".hook_in")]
    found: dict[tuple[int, bool], nn.Module] = {}
    for call in inside:
        if not is_norm(call.module):
            continue
        for_mixer = any(same(call.written, read) for read in fed)
        if same(call.read, start) and (for_mixer or not fed):
            found.setdefault((layer, False), call.module)
        elif same(call.read, middle):
            found.setdefault((layer, True), call.module)
    if middle is start and (layer, False) in found:
        found.setdefault((layer, True), found[layer, False])
    return found


def _unembedding(
    model: RunnableModel, calls: list[Call], cache: ActivationCache, logits: Tensor
) -> tuple[AffineMap, float]:
    """The map to the logits, and the factor on its way: before it (MiniCPM) or after it (Granite), not a soft cap's."""
    from workbench.attribution.linear import unembedding

    head = unembedding(model.wrapped)
    call = next((call for call in reversed(calls) if call.module is head), None)
    if call is None:
        raise UnsupportedFamilyError(
            f"{model.cfg.model_name} does not say which module writes its logits, so nothing can be attributed to them."
        )
    last = model.layout.final_norm
    ends = [one.written for one in calls if last is not None and one.module is last]
    before = _ratio(ends[-1] if ends else cache["resid_post", -1], call.read)
    if before is None:
        raise UnsupportedFamilyError(
            f"{model.cfg.model_name} changes its residual stream between the final norm and the unembedding, "
            "so a logit cannot be attributed to what was written into the stream."
        )
    after = _ratio(call.written, logits)
    return _map(call), before * (1.0 if after is None else after)


def _ratio(a: Tensor, b: Tensor) -> float | None:
    """The number `b` is `a` times, if there is one."""
    if a.shape != b.shape:
        return None
    a, b = a.double(), b.double()
    factor = float((a * b).sum() / a.square().sum().clamp(min=1e-300))
    if not same_up_to_rounding(a * factor, b):
        return None
    return factor if abs(factor - 1) > 1e-3 else 1.0  # logits far below a soft cap are hardly changed by it


def checked_layer(layer: int | None, n_layers: int) -> int:
    """A layer number up to and including `n_layers`, which None and -1 mean, too.

    Raises:
        InputError: it is out of range.
    """
    if layer is None or layer == -1:
        return n_layers
    if not 0 <= layer <= n_layers:
        raise InputError(
            f"Layer {layer} is out of range: the stream is read before layers 0 to {n_layers - 1}, and by the "
            f"unembedding (layer {n_layers}, -1 or None)."
        )
    return layer
