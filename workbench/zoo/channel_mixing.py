"""The rest of the published RWKV models: channel mixing, its blocks, and an embedding with a norm of its own.

The zoo's members have the MLP that all of them share; these are for checkpoints (`workbench.zoo.published.rwkv`).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.memory import DictMemory, Memory, NoMemory
from workbench.zoo import registry
from workbench.zoo.cache import LayerCache
from workbench.zoo.config import ZooConfig


class ChannelMixing(nn.Module):
    """``value(relu(key(x_k))^2)``, times ``sigmoid(receptance(x_r))`` if `gated`, ``x_i = x + (x_prev - x) mix_i``.

    Peng et al. 2024 (arXiv:2404.05892), section 4.3, gated; Peng et al. 2025 (arXiv:2503.14456), section 4.3, not.
    """

    def __init__(self, width: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.mix = nn.ParameterDict({name: torch.zeros(width) for name in ("kr" if gated else "k")})
        self.key = nn.Linear(width, hidden, bias=False)
        self.value = nn.Linear(hidden, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False) if gated else None

    def forward(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        """`mask` is 0 at pads, which no token may find as its predecessor."""
        if mask is not None:
            hidden = hidden * mask
        memory: Memory = NoMemory() if cache is None else DictMemory(cache)
        step = mixing.shifted(hidden, memory, "channel_shift") - hidden
        out: Tensor = self.value(F.relu(self.key(hidden + step * self.mix["k"])).square())
        if self.receptance is None:
            return out
        gate: Tensor = torch.sigmoid(self.receptance(hidden + step * self.mix["r"]))
        return gate * out


class RWKVBlock(nn.Module):
    """Time mixing and channel mixing, each behind a layer norm and added to the residual stream."""

    def __init__(self, config: ZooConfig, layer: int, gated: bool) -> None:
        super().__init__()
        assert isinstance(config.mixer, str)
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.mixer = registry.mixer(config.mixer)(config, layer)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = ChannelMixing(config.d_model, config.d_mlp, gated)

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "#batch time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        x = x + self.mixer(self.norm1(x), attention_mask=attention_mask, position_ids=position_ids, cache=cache)
        mask = None if attention_mask is None else attention_mask[:, -x.shape[1] :, None].to(x.dtype)
        output: Tensor = x + self.mlp(self.norm2(x), mask, cache)
        return output


class NormedEmbedding(nn.Embedding):
    """An embedding whose rows go through a layer norm: RWKV's norm before the first block, which reads nothing else.

    The residual stream then begins after that norm, and every block adds to it.
    """

    def __init__(self, vocab_size: int, width: int, eps: float, **options: Any) -> None:
        super().__init__(vocab_size, width, **options)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, input: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.norm(super().forward(input))
        return out
