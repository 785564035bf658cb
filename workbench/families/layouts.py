"""Where the parts of a decoder are, found by watching one short forward pass of the stock model.

Architectures name and order their parts differently (norms before or after, parallel or sequential blocks, a
feed-forward layer that is no module of its own). Instead of a table of names, noise is added to what each part of a
block returns, and what adds up to the block's output tells the parts' roles: with generic noise nothing adds up by
chance, not even when a projection is still zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import LoadError, UnsupportedFamilyError
from workbench.families.base import BlockLayout, MixerAdapter, Site, adapt, adapter_class, families
from workbench.stock import StockCall

TRACE_BATCH, TRACE_TIME = 2, 5


@dataclass(frozen=True)
class ModelLayout:
    """Where a model's parts are.

    Attributes:
        blocks: one entry a residual block, first layer first.
        embed: token embedding.
        pos_embed: learned position embedding, or None.
        final_norm: the norm between the last block and the unembedding, or None.
        d_model: width of the residual stream.
    """

    blocks: list[BlockLayout]
    embed: nn.Embedding
    pos_embed: nn.Module | None
    final_norm: nn.Module | None
    d_model: int

    @property
    def adapters(self) -> list[MixerAdapter]:
        """The mixers, first layer first."""
        return [block.adapter for block in self.blocks]


@dataclass
class _Part:
    """One call of one module during the trace."""

    module: nn.Module
    name: str
    read: Tensor
    raw: Tensor
    written: Tensor


@dataclass
class _Trace:
    """What one block read and wrote, and its parts in the order in which they finished."""

    read: Tensor | None = None
    written: Tensor | None = None
    parts: list[_Part] = field(default_factory=list)
    leaves: list[_Part] = field(default_factory=list)


def find_layout(model: nn.Module, call: StockCall) -> ModelLayout:
    """Find the parts of a decoder. The model must be in eval mode and not hooked.

    Raises:
        UnsupportedFamilyError: no list of blocks each of which mixes tokens with exactly one known mixer.
    """
    blocks, mixers = find_blocks(model)
    embed = token_embedding(model)
    traces = [_Trace() for _ in blocks]
    outside: list[_Part] = []
    with _watching(model, blocks, mixers, traces, outside), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, embed.num_embeddings, (TRACE_BATCH, TRACE_TIME), generator=generator)
        call(tokens.to(embed.weight.device))
    layouts = [
        _block_layout(block, mixer, layer, trace)
        for layer, (block, mixer, trace) in enumerate(zip(blocks, mixers, traces, strict=True))
    ]
    first, last = traces[0].read, traces[-1].written
    assert first is not None and last is not None  # _block_layout has refused blocks that were not called
    before = list(itertools.takewhile(lambda part: part.module is not blocks[0], outside))
    after = outside[len(outside) - 1 - [part.module for part in reversed(outside)].index(blocks[-1]) :]
    return ModelLayout(
        blocks=layouts,
        embed=embed,
        pos_embed=next(
            (p.module for p in before if isinstance(p.module, nn.Embedding) and p.module is not embed), None
        ),
        final_norm=next((p.module for p in after[1:-1] if _close(p.read, last)), None),
        d_model=first.shape[-1],
    )


def find_blocks(model: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The residual blocks and the one mixer in each."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) > 0]
    found: list[tuple[list[nn.Module], list[nn.Module]]] = []
    partial: list[tuple[nn.ModuleList, list[int]]] = []
    for modules in lists:
        mixers = [list(_mixers(block)) for block in modules]
        counts = [len(inside) for inside in mixers]
        if all(count == 1 for count in counts):
            found.append((list(modules), [inside[0] for inside in mixers]))
        elif any(counts):
            partial.append((modules, counts))
    if found:
        return max(found, key=lambda pair: len(pair[0]))
    supported = f"supported families: {', '.join(families())}"
    for modules, counts in partial:
        layer = next(i for i, count in enumerate(counts) if count != 1)
        what = "no known token mixer" if counts[layer] == 0 else f"{counts[layer]} token mixers"
        raise UnsupportedFamilyError(
            f"{type(model).__name__} is not supported: its block {layer} ({type(modules[layer]).__name__}) has {what}, "
            f"one is needed; {supported}."
        )
    inside = f" ({', '.join(sorted({type(m[0]).__name__ for m in lists}))})" if lists else ""
    raise UnsupportedFamilyError(
        f"{type(model).__name__} is not supported: no adapter serves the mixers in its blocks{inside}; {supported}."
    )


def _mixers(block: nn.Module) -> Iterator[nn.Module]:
    for child in block.children():
        if adapter_class(child) is not None:
            yield child
        else:
            yield from _mixers(child)


def token_embedding(model: nn.Module) -> nn.Embedding:
    """The token embedding. Raises LoadError for a module without one."""
    getter = getattr(model, "get_input_embeddings", None)
    embed = getter() if getter is not None else getattr(model, "embed", None)
    if not isinstance(embed, nn.Embedding):
        embed = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    if embed is None:
        raise LoadError(f"{type(model).__name__} has no token embedding.")
    return embed


class _watching:
    """Hooks on every part of every block for the duration of a ``with`` block."""

    def __init__(
        self,
        model: nn.Module,
        blocks: list[nn.Module],
        mixers: list[nn.Module],
        traces: list[_Trace],
        outside: list[_Part],
    ) -> None:
        self._handles: list[Any] = []
        self._noise = torch.Generator().manual_seed(1)
        inner: set[nn.Module] = set()
        for block, mixer, trace in zip(blocks, mixers, traces, strict=True):
            self._block(block, trace)
            parts = [*block.named_children()]
            if mixer not in block.children():
                parts.append(("mixer", mixer))
            for name, part in parts:
                if part is not mixer:
                    for below, leaf in part.named_modules():
                        if not any(leaf.children()) and leaf is not mixer:
                            self._leaf(leaf, below or name, trace.leaves)
                self._part(part, name, trace)  # after the leaves: they record what they wrote, not the noise on it
            inner.update(block.modules())
            inner.discard(block)
        for name, module in model.named_modules():
            if module not in inner and (module in blocks or not any(module.children())):
                self._leaf(module, name, outside)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _on(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def _block(self, block: nn.Module, trace: _Trace) -> None:
        def entered(module: nn.Module, args: Any, kwargs: Any) -> Any:
            # A fresh stream of size one in each block: what the noise of many layers grows into would overflow.
            read = _read(args, kwargs)
            if read is None:
                return None
            trace.read = torch.randn(read.shape, generator=self._noise).to(read)
            if args:
                return (trace.read, *args[1:]), kwargs
            return args, {name: trace.read if value is read else value for name, value in kwargs.items()}

        def left(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            trace.written = _written(output)

        self._handles.append(block.register_forward_pre_hook(entered, with_kwargs=True))
        self._on(block, left)

    def _leaf(self, module: nn.Module, name: str, into: list[_Part]) -> None:
        def seen(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            read, written = _read(args, kwargs), _written(output)
            if read is not None and written is not None:
                into.append(_Part(module, name, read, written, written))

        self._on(module, seen)

    def _part(self, module: nn.Module, name: str, trace: _Trace) -> None:
        def disturb(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            read, raw = _read(args, kwargs), _written(output)
            if read is None or raw is None:
                return None
            if raw.shape == read.shape and torch.equal(raw, read):  # dropout: whoever wrote it was disturbed already
                trace.parts.append(_Part(module, name, read, raw, raw))
                return None
            # As large as what it is added to and as the residual stream, or a sum would look the same without it.
            size = raw.float().std().clamp(min=1.0)
            noisy = raw + (torch.randn(raw.shape, generator=self._noise).to(size) * size).to(raw.dtype)
            trace.parts.append(_Part(module, name, read, raw, noisy))
            return (noisy, *output[1:]) if isinstance(output, tuple) else noisy

        self._on(module, disturb)


def _block_layout(block: nn.Module, mixer: nn.Module, layer: int, trace: _Trace) -> BlockLayout:
    x, y = trace.read, trace.written
    position = next((i for i, part in enumerate(trace.parts) if part.module is mixer), None)
    if x is None or y is None or position is None:
        raise UnsupportedFamilyError(f"Block {layer} did not call its mixer {type(mixer).__name__} in a forward pass.")
    adapter = adapt(mixer, layer)
    before, after = trace.parts[:position], trace.parts[position:]
    chain = [after[0]]
    for part in after[1:]:
        if _close(part.read, chain[-1].written) and not _same_tensor(part):
            chain.append(part)
    others = [part for part in [*after[1:], *before] if part.written.numel() == x.numel() and not _same_tensor(part)]
    delta = y.float() - x.float()
    for mixed in chain:
        if mixed.written.numel() == x.numel() and _close(mixed.written, delta, x.dtype):
            return BlockLayout(block, adapter, Site(mixed.module, output=True))
    for mixed, write in itertools.product(chain, others):
        if write is mixed or mixed.written.shape != x.shape:
            continue
        if _close(mixed.written.float() + write.written.float().view(x.shape), delta, x.dtype):
            middle = x.float() + mixed.written.float()
            sequential = any(_close(part.read, middle, x.dtype) for part in after[1:])
            pre, post = _mlp_inside(trace, write, x)
            return BlockLayout(
                block, adapter, Site(mixed.module, output=True), sequential, pre, post, _site(write, x, output=True)
            )
    # A norm or a factor comes between (post-norm OPT, scaled residuals): the parts are named, the sum is not claimed.
    mlp = next((part for part in reversed(others) if _is_mlp(part)), None)
    if mlp is None:
        return BlockLayout(block, adapter, Site(mixer, output=True), additive=False)
    pre, post = _mlp_inside(trace, mlp, x)
    return BlockLayout(
        block,
        adapter,
        Site(mixer, output=True),
        mlp_pre=pre,
        mlp_post=post,
        mlp_out=_site(mlp, x, output=True),
        additive=False,
    )


def _mlp_inside(trace: _Trace, write: _Part, x: Tensor) -> tuple[Site | None, Site | None]:
    """The hidden activation of the MLP that `write` ends, before and after its non-linearity."""
    parts = trace.leaves
    matrices = [i for i, leaf in enumerate(parts) if _is_matrix(leaf.module)]
    # The writer itself, or what wrote the input of a norm after it.
    writers = [write.raw, *(part.raw for part in trace.parts if _close(part.written, write.read))]
    ends = [i for i in matrices if any(_close(parts[i].raw, raw) for raw in writers)]
    if not ends:
        return None, None
    down = parts[ends[-1]]
    ups = [parts[i] for i in matrices if i < ends[-1] and _feeds(parts[i], down)]
    activations = [part for part in parts[: ends[-1]] if not list(part.module.parameters()) and _feeds(part, down)]
    activations = [part for part in activations if not _same_tensor(part)]
    post = _site(down, x, output=False)
    if len(activations) == 1:
        return _site(activations[0], x, output=False), post
    if len(ups) > 1:
        ups = [part for part in ups if "gate" in part.name]
    return (_site(ups[0], x, output=True) if len(ups) == 1 else None), post


def _feeds(part: _Part, down: _Part) -> bool:
    return part.raw.shape == down.read.shape


def _site(part: _Part, x: Tensor, output: bool) -> Site | None:
    tensor = part.raw if output else part.read
    if tensor.shape[:-1] == x.shape[:-1]:
        return Site(part.module, output)
    if tensor.dim() == 2 and tensor.shape[0] == x.shape[0] * x.shape[1]:
        return Site(part.module, output, flattened=True)
    return None


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding)


def _is_mlp(part: _Part) -> bool:
    return any(_is_matrix(module) for module in part.module.modules())


def _same_tensor(part: _Part) -> bool:
    return part.raw.shape == part.read.shape and torch.equal(part.raw, part.read)


def _read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    first = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    return first if isinstance(first, Tensor) else None


def _written(output: Any) -> Tensor | None:
    first = output[0] if isinstance(output, tuple) and output else output
    return first if isinstance(first, Tensor) else None


def _close(a: Tensor, b: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether two tensors agree up to the rounding of `dtype` (theirs, if None); noise that differs is of order one."""
    if a.numel() != b.numel():
        return False
    rounding = torch.finfo(dtype or torch.promote_types(a.dtype, torch.bfloat16)).eps
    a, b = a.float().flatten(), b.float().flatten()
    return bool((a - b).abs().max() <= max(8 * rounding, 1e-4) * b.abs().max().clamp(min=1e-6))
