"""What each part of a block is for, read from a trace: what adds up to the block's output, what feeds the MLP."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from workbench.errors import UnsupportedFamilyError
from workbench.families.base import BlockLayout, MixerAdapter, PlacedMixer, Site, adapt
from workbench.families.tracing import Part, Trace, close


def block_layout(block: nn.Module, mixers: Sequence[nn.Module], layer: int, trace: Trace) -> BlockLayout:
    """The parts of one block.

    Raises:
        UnsupportedFamilyError: the block or one of its mixers was not called in the traced forward pass.
    """
    x, y = trace.read, trace.written
    idle = [mixer for mixer in mixers if all(part.module is not mixer for part in trace.parts)]
    if x is None or y is None or idle:
        what = f"did not call its mixer {type(idle[0]).__name__}" if idle else "was not called with a tensor"
        raise UnsupportedFamilyError(f"Block {layer} ({type(block).__name__}) {what} in a forward pass over tokens.")
    adapters = _numbered([adapt(mixer, layer) for mixer in _in_call_order(mixers, trace)])
    chains = [_chain(adapter.module, trace) for adapter in adapters]
    taken = {id(part) for chain in chains for part in chain[:1]}
    others = [
        part
        for part in _mlp_candidates(trace, chains)
        if part.written.numel() == x.numel() and id(part) not in taken and not part.copies
    ]
    for writers, mlp in _sums(chains, others, x):
        summands = [part.written for part in [*writers, mlp] if part is not None]
        factors = _factors(summands, x, y)
        if factors is None:
            continue
        middle = x.float() + sum(
            factor * part.written.float().view(x.shape)
            for factor, part in zip(factors, filter(None, writers), strict=False)
        )
        scales = iter([_spelled(factor, block) for factor in factors])
        placed = tuple(
            PlacedMixer(adapter, Site(chain[0].module, output=True), writes=False)
            if writer is None
            else PlacedMixer(adapter, Site(writer.module, output=True, scale=next(scales)))
            for adapter, chain, writer in zip(adapters, chains, writers, strict=True)
        )
        if mlp is None:
            return BlockLayout(block, layer, placed)
        sequential = any(writers) and any(close(part.read, middle, x.dtype) for part in trace.parts)
        pre, post = _mlp_inside(trace, mlp, x)
        return BlockLayout(block, layer, placed, sequential, pre, post, _site(mlp, x, output=True, scale=next(scales)))
    # A norm comes between (post-norm OPT), or several MLPs write: the parts are named, the sum is not claimed.
    placed = tuple(PlacedMixer(adapter, Site(adapter.module, output=True)) for adapter in adapters)
    found = next((part for part in reversed(others) if _is_mlp(part)), None)
    if found is None:
        return BlockLayout(block, layer, placed, additive=False)
    pre, post = _mlp_inside(trace, found, x)
    out = _site(found, x, output=True)
    return BlockLayout(block, layer, placed, mlp_pre=pre, mlp_post=post, mlp_out=out, additive=False)


def _in_call_order(mixers: Sequence[nn.Module], trace: Trace) -> list[nn.Module]:
    called = [part.module for part in trace.parts]
    return sorted(mixers, key=called.index)


def _numbered(adapters: list[MixerAdapter]) -> list[MixerAdapter]:
    """Recurrent mixers first, so that a layer's number means the same kind in every layer of a hybrid."""
    ordered = sorted(adapters, key=lambda adapter: not adapter.recurrent)
    return [adapter.numbered(index) for index, adapter in enumerate(ordered)]


def _chain(mixer: nn.Module, trace: Trace) -> list[Part]:
    """A mixer's call and what is done to its output alone: a norm after it, a projection."""
    start = next(i for i, part in enumerate(trace.parts) if part.module is mixer)
    chain = [trace.parts[start]]
    for part in trace.parts[start + 1 :]:
        if close(part.read, chain[-1].written) and not part.copies:
            chain.append(part)
    return chain


def _mlp_candidates(trace: Trace, chains: Sequence[Sequence[Part]]) -> list[Part]:
    """Parts that may be the MLP: those called after the first mixer before those called ahead of it."""
    first = min((trace.parts.index(chain[0]) for chain in chains), default=0)
    return [*trace.parts[first:], *trace.parts[:first]]


def _sums(
    chains: Sequence[Sequence[Part]], others: Sequence[Part], x: Tensor
) -> Iterator[tuple[tuple[Part | None, ...], Part | None]]:
    """What may add up: one part of each mixer's chain, or none where its output goes elsewhere, and an MLP, or none."""
    options = [[*(part for part in chain if part.written.numel() == x.numel()), None] for chain in chains]
    choices = sorted(itertools.product(*options), key=lambda choice: sum(part is None for part in choice))
    for writers in choices:
        if any(writers):
            yield writers, None
        for mlp in others:
            if all(mlp is not part for part in writers):
                yield writers, mlp


def _factors(summands: Sequence[Tensor], x: Tensor, y: Tensor) -> list[float] | None:
    """The factors with which the tensors add up to ``y - x``, or None when they do not."""
    delta = (y.float() - x.float()).flatten()
    columns = torch.stack([tensor.float().flatten() for tensor in summands], dim=-1)
    if close(columns.sum(-1), delta, x.dtype):
        return [1.0] * len(summands)
    factors = torch.linalg.lstsq(columns.double().cpu(), delta.double().cpu()[:, None]).solution
    fitted = (columns.double().cpu() @ factors)[:, 0]
    if not close(fitted, delta.cpu(), x.dtype) or float(factors.abs().min()) < 1e-3:
        return None
    return [float(factor) for factor in factors[:, 0]]


def _spelled(factor: float, block: nn.Module) -> float:
    """A fitted factor as the block or one of its parts spells it, free of the trace's rounding."""
    spelled = [value for module in block.modules() for value in vars(module).values() if isinstance(value, float | int)]
    near = [float(value) for value in spelled if abs(value - factor) <= 1e-3 * abs(factor)]
    return min(near, key=lambda value: abs(value - factor), default=factor)


def _mlp_inside(trace: Trace, write: Part, x: Tensor) -> tuple[Site | None, Site | None]:
    """The hidden activation of the MLP that `write` ends, before and after its non-linearity."""
    parts = trace.leaves
    matrices = [i for i, leaf in enumerate(parts) if _is_matrix(leaf.module)]
    # The writer itself, or what wrote the input of a norm after it.
    writers = [write.raw, *(part.raw for part in trace.parts if close(part.written, write.read))]
    ends = [i for i in matrices if any(close(parts[i].raw, raw) for raw in writers)]
    if not ends:
        return None, None
    down = parts[ends[-1]]
    ups = [parts[i] for i in matrices if i < ends[-1] and _feeds(parts[i], down)]
    activations = [part for part in parts[: ends[-1]] if not list(part.module.parameters()) and _feeds(part, down)]
    activations = [part for part in activations if not part.copies]
    post = _site(down, x, output=False)
    if len(activations) == 1:
        return _site(activations[0], x, output=False), post
    if len(ups) > 1:
        ups = [part for part in ups if "gate" in part.name]
    return (_site(ups[0], x, output=True) if len(ups) == 1 else None), post


def _feeds(part: Part, down: Part) -> bool:
    return part.raw.shape == down.read.shape


def _site(part: Part, x: Tensor, output: bool, scale: float = 1.0) -> Site | None:
    tensor = part.raw if output else part.read
    if tensor.shape[:-1] == x.shape[:-1]:
        return Site(part.module, output, scale=scale)
    if tensor.dim() == 2 and tensor.shape[0] == x.shape[0] * x.shape[1]:
        return Site(part.module, output, flattened=True, scale=scale)
    return None


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding)


def _is_mlp(part: Part) -> bool:
    return any(_is_matrix(module) for module in part.module.modules())
