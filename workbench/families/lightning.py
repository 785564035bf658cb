"""Lightning attention (Qin et al. 2024, arXiv:2401.04658) as MiniMax-01 has it (2025, arXiv:2501.08313), transformers.

Per head, with a slope that nothing learns,

    S_t = exp(-slope) S_{t-1} + k_t v_t'        z_t = S_t' q_t

with SiLU on queries, keys and values, one norm over the channels of all heads, and a sigmoid gate after it: scalar
decay, the same at every step.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import mixing
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import ScalarDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, ValuePath, Values

ACTIVATIONS = {"SiLU": "silu", "SiLUActivation": "silu", "ReLU": "relu", "LinearActivation": "linear"}


@register
class LightningAdapter(RecurrentAdapter):
    """MiniMax's recurrent layers; their caches keep the state in a list of their own."""

    family: str = "minimax"
    mixer_classes: ClassVar[tuple[str, ...]] = ("MiniMaxLightningAttention",)
    operands: tuple[str, ...] = ("q", "k", "v", "log_decay")

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        called = type(module.act_fn).__name__
        self._slope = mixing.slope_of(ACTIVATIONS.get(called, called), self.activation_key)

    @property
    def n_heads(self) -> int:
        """Heads: each has its own decay."""
        return self.module.get_buffer("slope_rate").shape[0]

    @property
    def d_value(self) -> int:
        """Channels a head."""
        return self.submodule("norm").get_parameter("weight").shape[0] // self.n_heads

    def forward(  # type: ignore[override]  # the block calls it in its own way
        self,
        hidden_states: Float[Tensor, "batch time model"],
        position_embeddings: Any = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **ignored: Any,
    ) -> tuple[Float[Tensor, "batch time model"], Float[Tensor, "batch heads key value"] | None]:
        """Stand in for the module's own forward, which returns the last state, too."""
        memory = _LinearCache(past_key_values, int(self.module.layer_idx), hidden_states.dtype)  # type: ignore[arg-type]
        return self.mix(hidden_states, memory, attention_mask), memory.last

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        flat: Tensor = self.submodule("qkv_proj")(hidden)
        raw = flat.to(torch.promote_types(flat.dtype, torch.float32)).unflatten(-1, (self.n_heads, -1))
        slope = mixing.fixed(self._slope(raw))
        rate = self.module.get_buffer("slope_rate").to(raw.dtype).flatten()
        log_decay = -rate.expand(*raw.shape[:2], -1)  # a tensor of its own, which hooks may edit in place
        if mask is not None:
            slope, log_decay = slope * mask[..., None], log_decay * mask
        active, values = raw * slope, slice(2 * self.d_value, None)
        form = ScalarDecay(
            q=active[..., : self.d_value],
            k=active[..., self.d_value : 2 * self.d_value],
            v=active[..., values],
            log_decay=log_decay,
        )
        gate = self.heads(self.submodule("output_gate")(hidden).to(raw.dtype).sigmoid())
        return Inlet(form, gate, ValuePath(raw[..., values], source=lambda: slope[..., values]))

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        norm: Any = self.submodule("norm")
        inverse = mixing.inverse_rms(z.flatten(2), float(norm.variance_epsilon))
        return Outlet(scale=self.heads(norm.weight.to(z.dtype) * inverse))

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("out_proj")(flat)
        return out


class _LinearCache(Memory):
    """A layer of a ``MiniMaxCache``, or of none.

    Attributes:
        last: the last state that was left, in the dtype of the activations, in which the stock module goes on from it.
    """

    def __init__(self, cache: Any, layer: int, dtype: torch.dtype) -> None:
        self._cache, self._layer, self._dtype = cache, layer, dtype
        self.last: Float[Tensor, "batch heads key value"] | None = None

    def get(self, name: str) -> Tensor | None:
        state: Tensor | None = None if self._cache is None else self._cache.get_linear_cache(self._layer)
        return state

    def set(self, name: str, value: Tensor) -> None:
        self.last = value.to(self._dtype)
        if self._cache is not None:
            self._cache.set_linear_cache(self._layer, self.last)
