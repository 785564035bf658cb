"""xLSTM-7B of transformers (Beck et al. 2025, arXiv:2503.13427): mLSTM layers (Beck et al. 2024, arXiv:2405.04517).

Per head, with the gates' pre-activations capped at c tanh(x / c) and m the running maximum that keeps the exponential
input gate in range (the second paper's equations 19 to 27):

    C_t = f_t C_{t-1} + i_t k_t v_t'     n_t = f_t n_{t-1} + i_t k_t     h_t = C_t' q_t / (max(|n_t' q_t|, 1) + eps e^m)

which is scalar decay with a normaliser in `read`; a layer norm a head and a sigmoid gate follow. Prefill (chunks of
chunk_size tokens, then one by one) and decoding compute the same in transformers, as here. The layer is never shown an
attention mask, so the pads of a left-padded batch are tokens like any other.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import mixing
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.memory import DictMemory, Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.mlstm import matrix_memory, soft_capped

State = tuple[
    Float[Tensor, "batch heads key value"],  # C
    Float[Tensor, "batch heads key"],  # n
    Float[Tensor, "batch heads 1"],  # m
]


@register
class XLSTMAdapter(RecurrentAdapter):
    """``xLSTMLayer``, with its weights single or fused.

    ``hook_read`` is one over the normaliser, which an edit of keys, decays or writes leaves as it was.
    """

    family: str = "xlstm"
    mixer_classes: ClassVar[tuple[str, ...]] = ("xLSTMLayer",)
    operands: tuple[str, ...] = ("q", "k", "v", "log_decay", "write", "read")

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self._config: Any = module.config

    @property
    def n_heads(self) -> int:
        """Heads: each has its own gates."""
        return int(self._config.num_heads)

    @property
    def d_value(self) -> int:
        """Value channels a head."""
        return self.parameter("multihead_norm.weight").shape[0] // self.n_heads

    def forward(  # type: ignore[override]  # the block calls it in its own way
        self, x: Float[Tensor, "batch time model"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time model"], State]:
        """Stand in for the layer's forward: the output, and C, n and m after the last token."""
        kept: dict[str, Tensor] = {"maximum": x.new_zeros(len(x), self.n_heads)}  # where transformers starts
        if state is not None and bool(state[1].any()):  # the cache of a sequence that begins holds zeros
            if torch.is_grad_enabled():  # the model copies the new state over the old one
                state = (state[0].clone(), state[1].clone(), state[2].clone())
            kept = {"state": state[0], "normaliser": state[1][..., None], "maximum": state[2][..., 0]}
        out = self.mix(x, DictMemory(kept))
        return out, (kept["state"], kept["normaliser"][..., 0], kept["maximum"][..., None])

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        q, k, v, gate, input_gate, forget_gate = (
            projected.to(torch.promote_types(hidden.dtype, torch.float32)) for projected in self._projected(hidden)
        )
        q, k, v, gate = (flat.unflatten(-1, (self.n_heads, -1)) for flat in (q, k, v, gate))
        cap = float(self._config.gate_soft_cap)
        form = matrix_memory(
            q * q.shape[-1] ** -0.5,
            k,
            v,
            soft_capped(input_gate, cap),
            soft_capped(forget_gate, cap),
            mask,
            memory,
            float(self._config.eps),
        )
        return Inlet(form, gate=torch.sigmoid(gate))

    def _projected(self, hidden: Float[Tensor, "batch time model"]) -> tuple[Tensor, ...]:
        """Query, key, value, output gate, input gate, forget gate, heads flattened."""
        if self._config.weight_mode == "single":
            names = ("q", "k", "v", "ogate_preact", "igate_preact", "fgate_preact")
            return tuple(self.submodule(name)(hidden) for name in names)
        values = self.n_heads * self.d_value
        joined: Tensor = self.submodule("qkv_opreact")(hidden)
        keys = joined.shape[-1] // 2 - values
        gates: Tensor = self.submodule("ifgate_preact")(hidden)
        # Slices, not split(): an in-place edit by a hook is refused on the several views that split() returns.
        return (
            joined[..., :keys],
            joined[..., keys : 2 * keys],
            joined[..., 2 * keys : 2 * keys + values],
            joined[..., 2 * keys + values :],
            gates[..., : self.n_heads],
            gates[..., self.n_heads :],
        )

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        norm = self.submodule("multihead_norm")
        bias = norm._parameters.get("bias")
        inverse = mixing.inverse_deviation(z, float(getattr(norm, "eps")))  # noqa: B009 - mypy sees a Tensor in it
        return Outlet(
            scale=inverse * self.heads(norm.get_parameter("weight").to(z.dtype)),
            offset=None if bias is None else self.heads(bias.to(z.dtype))[None, None],
            centred=True,
        )

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("out_proj")(flat)
        return out
