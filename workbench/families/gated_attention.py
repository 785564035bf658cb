"""Softmax attention with an output gate (Qiu et al. 2025, arXiv:2505.06708): Qwen3-Next's and Qwen3.5's.

The query projection writes a gate beside each head's query, and ``sigmoid(gate)`` multiplies what the head hands to the
output projection. The gate stands in the stock forward, behind the attention function that the adapter replaces; so
the record of a forward pass waits there until the output projection is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from workbench.families.base import register
from workbench.families.softmax import RegistryAttention
from workbench.forms import MixerForm


@register
class GatedAttention(RegistryAttention):
    """Attention whose ``q_proj`` also writes an output gate.

    ``hook_head_out [B,T,H,V]`` is what the output projection reads, after the gate; ``hook_z`` is before it.
    """

    mixer_classes: ClassVar[tuple[str, ...]] = ("Qwen3NextAttention", "Qwen3_5Attention", "Qwen3_5MoeAttention")

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self.points["hook_head_out"].source = self._place_head_out
        self._gates: dict[int, Tensor] = {}  # by thread: a run may be paused halfway while another one passes here
        self._waiting: dict[int, MixerForm] = {}

    def declare_points(self) -> Iterable[tuple[str, tuple[str, ...], bool]]:
        yield from super().declare_points()
        yield "hook_head_out", ("batch", "time", "head", "value"), False

    def _place_head_out(self) -> Callable[[], None]:
        def show(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            heads = args[0].unflatten(-1, (self.n_heads, self.d_value))
            return (self.points["hook_head_out"](heads).flatten(-2), *args[1:])

        return self._projection("o_proj").register_forward_pre_hook(show).remove

    @contextmanager
    def recorded_by(self, recorder: Callable[[MixerForm], None]) -> Iterator[None]:
        handles = [
            self._projection("q_proj").register_forward_hook(self._keep_gate),
            self._projection("o_proj").register_forward_pre_hook(self._complete),
        ]
        try:
            with super().recorded_by(recorder):
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._gates.clear()
            self._waiting.clear()

    def record(self, form: MixerForm) -> None:
        """Keep the attention's part until the gated output is there."""
        self._waiting[threading.get_ident()] = form

    def _keep_gate(self, module: nn.Module, args: Any, output: Tensor) -> None:
        both = output.unflatten(-1, (self.n_heads, 2, self.d_value))
        self._gates[threading.get_ident()] = both[..., 1, :].sigmoid()

    def _complete(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        thread = threading.get_ident()
        written = args[0].unflatten(-1, (self.n_heads, self.d_value))
        super().record(replace(self._waiting.pop(thread), gate=self._gates.pop(thread), outputs=written))

    def _projection(self, name: str) -> nn.Module:
        return self.module.get_submodule(name)
