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
    found = _sum(chains, others, x, y)
    if found is not None:
        writers, mlp, factors = found
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
        if not mlp:
            inner = [part.module for part in others if _is_mlp(part, matrices=2)]
            return BlockLayout(block, layer, placed, inner_mlps=tuple(inner))
        sequential = any(writers) and any(close(part.read, middle, x.dtype) for part in trace.parts)
        pre, post = _mlp_inside(trace, mlp[-1], x)
        out = _site(mlp[-1], x, output=True, scale=next(scales), also=tuple(part.module for part in mlp[:-1]))
        return BlockLayout(block, layer, placed, sequential, pre, post, out)
    # A norm comes between (post-norm OPT): the parts are named, the sum is not claimed.
    placed = tuple(PlacedMixer(adapter, Site(adapter.module, output=True)) for adapter in adapters)
    last = next((part for part in reversed(others) if _is_mlp(part)), None)
    if last is None:
        return BlockLayout(block, layer, placed, additive=False)
    pre, post = _mlp_inside(trace, last, x)
    out = _site(last, x, output=True)
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


def _sum(
    chains: Sequence[Sequence[Part]], others: Sequence[Part], x: Tensor, y: Tensor
) -> tuple[tuple[Part | None, ...], tuple[Part, ...], list[float]] | None:
    """What adds up to ``y - x``: a part of each mixer's chain or None, the MLP's parts, and the factors of both."""
    sums = list(_possible_sums(chains, others, x))
    for factors_of in (_no_factors, _fitted_factors):
        for writers, mlp in sums:
            summands = [part.written.float().flatten() for part in writers if part is not None]
            if mlp:
                summands.append(torch.stack([part.written.float().flatten() for part in mlp]).sum(0))
            factors = factors_of(torch.stack(summands, dim=-1), (y.float() - x.float()).flatten(), x.dtype)
            if factors is not None:
                return writers, mlp, factors
    return None


def _possible_sums(
    chains: Sequence[Sequence[Part]], others: Sequence[Part], x: Tensor
) -> Iterator[tuple[tuple[Part | None, ...], tuple[Part, ...]]]:
    """Choices of a part of each mixer's chain (or None: it writes elsewhere) and of at most two parts of an MLP."""
    options = [[*(part for part in chain if part.written.numel() == x.numel()), None] for chain in chains]
    pairs = sorted(itertools.combinations(sorted(others, key=lambda part: part.order), 2), key=lambda p: -p[0].order)
    for writers in sorted(itertools.product(*options), key=lambda choice: sum(part is None for part in choice)):
        for mlp in [(), *((part,) for part in others), *pairs]:
            if (any(writers) or mlp) and all(part is not writer for part in mlp for writer in writers):
                yield writers, mlp


def _no_factors(columns: Tensor, delta: Tensor, dtype: torch.dtype) -> list[float] | None:
    return [1.0] * columns.shape[1] if close(columns.sum(-1), delta, dtype) else None


def _fitted_factors(columns: Tensor, delta: Tensor, dtype: torch.dtype) -> list[float] | None:
    """Fitted to some of the numbers, held to all of them."""
    some = slice(None, None, max(1, len(delta) // 256))
    system, target = columns[some].double().cpu(), delta[some].double().cpu()[:, None]
    # Columns may be dependent, and the default driver's rank is then wrong now and then (pytorch#92537).
    factors = torch.linalg.lstsq(system, target, driver="gelsd").solution[:, 0]
    fitted = columns @ factors.to(columns)
    if float(factors.abs().min()) < 1e-3 or not close(fitted, delta, dtype):
        return None
    return [float(factor) for factor in factors]


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
    ends = [i for i in matrices if any(_proportional(parts[i].raw, raw) for raw in writers)]
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


def _proportional(a: Tensor, b: Tensor) -> bool:
    """Whether `b` is `a` times some number: a multiplier inside an MLP (Falcon-H1) changes nothing about its parts."""
    if a.numel() != b.numel() or close(a, b):
        return a.numel() == b.numel()
    flat, other = a.float().flatten(), b.float().flatten()
    square = flat.square().sum()
    return bool(square > 0) and close(a.float() * (flat @ other / square), b, a.dtype)


def _feeds(part: Part, down: Part) -> bool:
    return part.raw.shape == down.read.shape


def _site(part: Part, x: Tensor, output: bool, scale: float = 1.0, also: tuple[nn.Module, ...] = ()) -> Site | None:
    tensor = part.raw if output else part.read
    if tensor.shape[:-1] == x.shape[:-1]:
        return Site(part.module, output, scale=scale, also=also)
    if tensor.dim() == 2 and tensor.shape[0] == x.shape[0] * x.shape[1]:
        return Site(part.module, output, flattened=True, scale=scale, also=also)
    return None


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding)


def _is_mlp(part: Part, matrices: int = 1) -> bool:
    return sum(_is_matrix(module) for module in part.module.modules()) >= matrices
