"""LFM2's gated short convolution (Liquid AI, "LFM2 technical report", 2025, arXiv:2511.23404) in transformers.

With ``[B, C, x] = in_proj(hidden)``, a few taps per channel and an optional bias,

    y_t = C_t (bias + sum_lag kernel[lag] (B x)_{t - lag})

which is a Toeplitz form with one head a channel, its values ``v = B x`` gated before and after.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench import mixing
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import Toeplitz
from workbench.memory import Memory, NoMemory, TransformersMemory, kept
from workbench.mixing import Inlet, Outlet, ValuePath, Values


@register
class Lfm2Adapter(RecurrentAdapter):
    """LFM2, LFM2-MoE and LFM3: the state is the shift register, the last values of each channel, the latest one first.

    Pads leave no trace, whatever the biases are; with ``conv_bias`` transformers writes ``B x`` of the biases alone at
    each pad.
    """

    family: str = "lfm2"
    mixer_classes: ClassVar[tuple[str, ...]] = ("Lfm2ShortConv", "Lfm2MoeShortConv", "Lfm3ShortConv")
    operands: tuple[str, ...] = ("v",)

    @property
    def n_heads(self) -> int:
        """Channels: each has its own filter, hence its own implicit attention."""
        return self.parameter("conv.weight").shape[0]

    @property
    def d_value(self) -> int:
        """A channel carries one value."""
        return 1

    def forward(  # type: ignore[override]  # the block calls it in its own way
        self,
        hidden_states: Float[Tensor, "batch time model"],
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        **ignored: Any,
    ) -> Float[Tensor, "batch time model"]:
        """Stand in for the module's own forward."""
        memory: Memory = NoMemory()
        if past_key_values is not None:
            taps = self.parameter("conv.weight").shape[-1]
            memory = _Register(past_key_values, int(self.module.layer_idx), taps)  # type: ignore[arg-type]
        return self.mix(hidden_states, memory, attention_mask)

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        weight = self.parameter("conv.weight")[:, 0]
        flat: Tensor = self.submodule("in_proj")(hidden)
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        before, after, inputs = (wide[..., i * self.n_heads : (i + 1) * self.n_heads, None] for i in range(3))
        source = mixing.fixed(before) if mask is None else mixing.fixed(before) * mask[..., None]
        v = source * inputs
        memory.extend(v[..., 0].to(hidden.dtype), weight.shape[-1])
        form = Toeplitz(v=v, kernel=weight.flip(-1).to(v.dtype))
        return Inlet(form, gate=after, path=ValuePath(inputs, source=lambda: source))

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        bias = self.submodule("conv")._parameters.get("bias")
        return Outlet(offset=None if bias is None else bias.to(z.dtype)[None, None, :, None])

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("out_proj")(flat)
        return out


class _Register(TransformersMemory):
    """A layer whose state is what transformers' cache keeps as the convolution's last inputs, the oldest one first."""

    def __init__(self, cache: Any, layer: int, taps: int) -> None:
        super().__init__(cache, layer)
        self._past = taps - 1
        stored = kept(cache, layer, "conv_states")
        if stored is not None:
            latest = stored.flip(-1)[..., : self._past]
            self._state = F.pad(latest, (0, self._past - latest.shape[-1]))[..., None]

    def set(self, name: str, value: Float[Tensor, "batch heads past 1"]) -> None:
        """Leave the register, which differs from the inputs that `extend` kept where somebody edited a state."""
        stored = kept(self._cache, self._layer, "conv_states")
        assert stored is not None  # `extend` came before
        oldest = max(0, self._past - stored.shape[-1])
        stored[..., stored.shape[-1] - self._past + oldest :].copy_(value[..., 0].flip(-1)[..., oldest:])
