"""One short forward pass that tells which module reads what: where heads are projected, where norms stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.families.tracing import tensor_read

if TYPE_CHECKING:
    from workbench.cache import ActivationCache
    from workbench.running import RunnableModel

BATCH, TIME = 2, 4


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module without children, or of a block's mixer.

    Attributes:
        module: the module.
        layer: the block it was called in; None before the first and after the last one.
        read, written: what it was given and what it returned.
    """

    module: nn.Module
    layer: int | None
    read: Tensor
    written: Tensor


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, in whatever shape."""
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten().to(a.dtype))


def same_up_to_rounding(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree as closely as their dtype's rounding lets a few operations do."""
    tolerance = 1e-4 if b.dtype in (torch.float32, torch.float64) else 3e-2
    return a.shape == b.shape and bool((a.to(b.dtype) - b).abs().max() <= tolerance * b.abs().max().clamp(min=1e-30))


@torch.no_grad()
def watched_pass(model: RunnableModel) -> tuple[list[Call], ActivationCache, Tensor]:
    """The calls of a pass over a few random tokens, what its hook points showed, and the logits.

    Whoever listens to the model's hook points, records its mixers or cuts its edges sees nothing of it.
    """
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.cfg.d_vocab, (BATCH, TIME), generator=generator)
    tokens, _ = model.prepared(tokens, None)
    calls: list[Call] = []
    layer: list[int | None] = [None]

    def keep(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        read, written = tensor_read(args, kwargs), output[0] if isinstance(output, tuple) else output
        if read is not None and isinstance(written, Tensor):
            calls.append(Call(module, layer[0], read.detach().clone(), written.detach().clone()))

    def entering(number: int) -> Any:
        def entered(module: nn.Module, args: Any, kwargs: Any) -> None:
            layer[0] = number

        return entered

    def leaving(module: nn.Module, args: Any, output: Any) -> None:
        layer[0] = None

    mixers = {adapter.module for adapter in model.layout.every_adapter}
    with ExitStack() as stack, alone(model):
        for module in model.wrapped.modules():
            if module in mixers or not any(module.children()):
                handle = module.register_forward_hook(keep, with_kwargs=True)
                stack.callback(handle.remove)
        for block in model.layout.blocks:
            handle = block.block.register_forward_pre_hook(entering(block.layer), with_kwargs=True)
            stack.callback(handle.remove)
            stack.callback(block.block.register_forward_hook(leaving).remove)
        logits, cache = model.run_with_cache(tokens)
    return calls, cache, logits


@contextmanager
def alone(model: RunnableModel) -> Iterator[None]:
    """Nobody else listens, records or cuts."""
    adapters = model.layout.every_adapter
    before = [(adapter._recorder, adapter.cuts) for adapter in adapters]
    with model.points.silenced():
        try:
            for adapter in adapters:
                adapter._recorder, adapter.cuts = None, []
            yield
        finally:
            for adapter, (recorder, cuts) in zip(adapters, before, strict=True):
                adapter._recorder, adapter.cuts = recorder, cuts
