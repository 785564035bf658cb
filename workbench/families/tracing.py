"""One short forward pass of the stock model in which every part of every block is watched and disturbed.

Noise is added to what each part of a block returns, and each block reads a stream of its own: with generic noise
nothing adds up by chance, not even when a projection is still zero, so what does add up tells the parts' roles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Part:
    """One call of one module during the trace.

    Attributes:
        module, name: the module, by its name in the block.
        read: what it read.
        raw: what it returned.
        written: that with noise: what others read.
        order: its place among the calls that were watched.
    """

    module: nn.Module
    name: str
    read: Tensor
    raw: Tensor
    written: Tensor
    order: int = field(default_factory=itertools.count().__next__)

    @property
    def copies(self) -> bool:
        """Whether it returns what it reads, as dropout does in evaluation."""
        return self.raw.shape == self.read.shape and torch.equal(self.raw, self.read)


@dataclass
class Trace:
    """What one block read and wrote, and its parts in the order in which they finished."""

    read: Tensor | None = None
    written: Tensor | None = None
    parts: list[Part] = field(default_factory=list)
    leaves: list[Part] = field(default_factory=list)


class Watching:
    """Hooks on every part of every block for the duration of a ``with`` block.

    Attributes:
        traces: one for each block.
        outside: calls of the blocks and of the modules around them.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], mixers: Sequence[Sequence[nn.Module]]) -> None:
        self.traces = [Trace() for _ in blocks]
        self.outside: list[Part] = []
        self._handles: list[Any] = []
        self._noise = torch.Generator().manual_seed(1)
        self._running: Trace | None = None  # a module shared by blocks is a part of the one that calls it
        inner: set[nn.Module] = set()
        for block, inside, trace in zip(blocks, mixers, self.traces, strict=True):
            self._block(block, trace)
            for name, part in parts_of(block, inside):
                if part not in inside:
                    for below, leaf in part.named_modules():
                        if not any(leaf.children()):
                            self._leaf(leaf, below or name, trace)
                self._part(part, name, trace)  # after the leaves: they record what they wrote, not the noise on it
            inner.update(block.modules())
            inner.discard(block)
        for name, module in model.named_modules():
            if module not in inner and (module in blocks or not any(module.children())):
                self._leaf(module, name, None)

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _on(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def _block(self, block: nn.Module, trace: Trace) -> None:
        def entered(module: nn.Module, args: Any, kwargs: Any) -> Any:
            # A fresh stream of size one in each block: what the noise of many layers grows into would overflow.
            self._running = trace
            read = tensor_read(args, kwargs)
            if read is None:
                return None
            trace.read = torch.randn(read.shape, generator=self._noise).to(read)
            return with_read(args, kwargs, trace.read)

        def left(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._running = None
            trace.written = tensor_written(output)

        self._handles.append(block.register_forward_pre_hook(entered, with_kwargs=True))
        self._on(block, left)

    def _leaf(self, module: nn.Module, name: str, trace: Trace | None) -> None:
        def seen(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            read, written = tensor_read(args, kwargs), tensor_written(output)
            if read is not None and written is not None and (trace is None or trace is self._running):
                into = self.outside if trace is None else trace.leaves
                into.append(Part(module, name, read, written, written))

        self._on(module, seen)

    def _part(self, module: nn.Module, name: str, trace: Trace) -> None:
        def disturb(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            read, raw = tensor_read(args, kwargs), tensor_written(output)
            if read is None or raw is None or self._running is not trace:
                return None
            if raw.shape == read.shape and torch.equal(raw, read):  # dropout: whoever wrote it was disturbed already
                trace.parts.append(Part(module, name, read, raw, raw))
                return None
            # As large as what it is added to and as the residual stream, or a sum would look the same without it.
            size = raw.float().std().clamp(min=1.0)
            noisy = raw + (torch.randn(raw.shape, generator=self._noise).to(size) * size).to(raw.dtype)
            trace.parts.append(Part(module, name, read, raw, noisy))
            return (noisy, *output[1:]) if isinstance(output, tuple) else noisy

        self._on(module, disturb)


def parts_of(block: nn.Module, mixers: Sequence[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """A block's parts: its children, and in place of a child that wraps a mixer, that child's parts."""
    for name, child in block.named_children():
        if child in mixers or not any(module in mixers for module in child.modules()):
            yield name, child
        else:
            yield from parts_of(child, mixers)


class MixingProbe:
    """Tells of blocks without a known mixer whether they mix tokens all the same, during one forward pass.

    Two sequences that agree in their last token alone are put into each such block; where tokens do not read each
    other, the block's output agrees there too.

    Attributes:
        mixing: the blocks that were found to mix tokens.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.mixing: list[nn.Module] = []
        self._handles: list[Any] = []
        noise = torch.Generator().manual_seed(2)

        def entered(module: nn.Module, args: Any, kwargs: Any) -> Any:
            read = tensor_read(args, kwargs)
            if read is None:
                return None
            stream = torch.randn(read.shape, generator=noise).to(read)
            stream[1:, -1] = stream[:1, -1]
            return with_read(args, kwargs, stream)

        def left(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            written = tensor_written(output)
            if written is None or not close(written[:1, -1], written[1:2, -1]):
                self.mixing.append(module)

        for block in blocks:
            self._handles.append(block.register_forward_pre_hook(entered, with_kwargs=True))
            self._handles.append(block.register_forward_hook(left, with_kwargs=True))

    def __enter__(self) -> MixingProbe:
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()


def tensor_read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor that a call is about: the first argument, or ``hidden_states``."""
    first = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    return first if isinstance(first, Tensor) else None


def with_read(args: tuple[Any, ...], kwargs: dict[str, Any], tensor: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments with another tensor in that place."""
    if args:
        return (tensor, *args[1:]), kwargs
    name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
    return args, {**kwargs, name: tensor}


def tensor_written(output: Any) -> Tensor | None:
    """The tensor that a call returns, alone or first of a tuple."""
    first = output[0] if isinstance(output, tuple) and output else output
    return first if isinstance(first, Tensor) else None


def close(a: Tensor, b: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether two tensors agree up to the rounding of `dtype` (theirs, if None); noise that differs is of order one."""
    if a.numel() != b.numel():
        return False
    rounding = torch.finfo(dtype or torch.promote_types(a.dtype, torch.bfloat16)).eps
    a, b = a.float().flatten(), b.float().flatten()
    return bool((a - b).abs().max() <= max(8 * rounding, 1e-4) * b.abs().max().clamp(min=1e-6))
