"""Attention in TransformerLens' layout (one matrix a head), over the parameters of a HookedTransformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.families.base import register
from workbench.families.softmax import SeamAdapter
from workbench.interop.lens_norm import LensNorm
from workbench.zoo.cache import LayerCache


class RotaryTables:
    """Sines and cosines by position, made by the source's own formula and grown when a text is longer.

    So every scaling of the frequencies that TransformerLens knows (linear, NTK by parts, YaRN) is the one that runs.
    """

    def __init__(self, make: Callable[[int, torch.dtype], tuple[Tensor, Tensor]]) -> None:
        self._make = make
        self._kept: tuple[Tensor, Tensor] | None = None

    def at(
        self, positions: Int[Tensor, "#batch time"], like: Tensor
    ) -> tuple[Float[Tensor, "#batch 1 time rotary"], Float[Tensor, "#batch 1 time rotary"]]:
        """Sines and cosines at these positions, in the dtype and on the device of `like`."""
        needed = int(positions.max()) + 1
        kept = self._kept
        if kept is None or len(kept[0]) < needed or kept[0].dtype != like.dtype or kept[0].device != like.device:
            sin, cos = self._make(1 << max(7, (needed - 1).bit_length()), like.dtype)
            kept = self._kept = sin.to(like.device), cos.to(like.device)
        return kept[0][positions][:, None], kept[1][positions][:, None]


class Heads(nn.Module):
    """``x W + b`` for every head: ``W [heads, model, head]``, a parameter of the source itself."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch heads time head"]:
        return torch.einsum("btd,hdk->bhtk", x, self.weight) + self.bias[:, None]


class HeadsOut(nn.Module):
    """The sum over heads of ``z W``, plus a bias: ``W [heads, head, model]``, a parameter of the source itself."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, z: Float[Tensor, "batch time heads_head"]) -> Float[Tensor, "batch time model"]:
        return z.to(self.weight.dtype) @ self.weight.flatten(0, 1) + self.bias


class LensAttention(nn.Module):
    """One layer's attention. `attend` is the seam at which an adapter looks in.

    Attributes:
        scale: factor on the scores.
        softcap: ``cap tanh(score / cap)``, or None.
        window: how many tokens back a token sees, itself included; None for all.
        slopes: ALiBi's slope of each head, or None (Press et al. 2022, arXiv:2108.12409).
        sinks: one more score a head that takes probability and gives nothing, or None.
    """

    def __init__(self, source: Any, rotary: RotaryTables | None) -> None:
        super().__init__()
        cfg, grouped = source.cfg, hasattr(source, "_W_K")
        self.q_proj = Heads(source.W_Q, source.b_Q)
        self.k_proj = Heads(source._W_K, source._b_K) if grouped else Heads(source.W_K, source.b_K)
        self.v_proj = Heads(source._W_V, source._b_V) if grouped else Heads(source.W_V, source.b_V)
        self.o_proj = HeadsOut(source.W_O, source.b_O)
        self.q_norm = LensNorm.of(source.q_norm) if cfg.use_qk_norm else nn.Identity()
        self.k_norm = LensNorm.of(source.k_norm) if cfg.use_qk_norm else nn.Identity()
        self.n_heads, self.head_dim = int(cfg.n_heads), int(cfg.d_head)
        self.scale = 1.0 / float(source.attn_scale)
        self.softcap = float(cfg.attn_scores_soft_cap) if cfg.attn_scores_soft_cap > 0 else None
        self.window = int(cfg.window_size) if source.attn_type == "local" else None
        self.sinks = source.sinks if cfg.use_attention_sinks else None
        self.rotary, self.adjacent = rotary, bool(cfg.rotary_adjacent_pairs)
        self.slopes: Tensor | None = None
        if cfg.positional_embedding_type == "alibi":
            self.slopes = source.create_alibi_multipliers(cfg.n_heads, source.W_Q.device)

    def attend(
        self,
        q: Float[Tensor, "batch heads time head"],
        k: Float[Tensor, "batch groups source head"],
        v: Float[Tensor, "batch groups source head"],
        mask: Bool[Tensor, "#batch 1 time source"] | None,
        bias: Float[Tensor, "1 heads time source"] | None,
    ) -> Float[Tensor, "batch heads time head"]:
        """Attention proper, on rotated queries and keys; `mask` is True where a source may be seen, None is causal."""
        if self.softcap is None and self.sinks is None:
            added: Tensor | None = mask
            if bias is not None:
                added = bias.masked_fill(~(_causal(q, k) if mask is None else mask), -math.inf).to(q.dtype)
            return F.scaled_dot_product_attention(
                q, k, v, attn_mask=added, is_causal=added is None, scale=self.scale, enable_gqa=True
            )
        groups = self.n_heads // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = q @ k.transpose(-1, -2) * self.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        scores = scores if bias is None else scores + bias
        scores = scores.masked_fill(~(_causal(q, k) if mask is None else mask), -math.inf)
        if self.sinks is not None:
            sink = self.sinks[:, None, None].expand(len(scores), -1, scores.shape[2], 1)
            scores = torch.cat([scores, sink.to(scores)], dim=-1)
        pattern: Tensor = scores.softmax(-1)[..., : k.shape[2]]
        return pattern @ v

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "#batch time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        q, k = self.q_norm(self.q_proj(hidden_states)), self.k_norm(self.k_proj(hidden_states))
        v = self.v_proj(hidden_states)
        if self.rotary is not None:
            assert position_ids is not None  # the decoder counts them
            sin, cos = self.rotary.at(position_ids, q)
            q, k = self._rotated(q, sin, cos), self._rotated(k, sin, cos)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache["key"], k], 2), torch.cat([cache["value"], v], 2)
            cache["key"], cache["value"] = k, v
        z = self.attend(q, k, v, self._mask(attention_mask, q, k), self._alibi(q, k))
        out: Tensor = self.o_proj(z.transpose(1, 2).flatten(2))
        return out

    def _rotated(self, x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
        turned, rest = x[..., : sin.shape[-1]], x[..., sin.shape[-1] :]
        if self.adjacent:
            other = torch.stack([-turned[..., 1::2], turned[..., ::2]], -1).flatten(-2)
        else:
            low, high = turned.chunk(2, -1)
            other = torch.cat([-high, low], -1)
        return torch.cat([turned * cos + other * sin, rest], -1)

    def _mask(self, seen: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        time, source = q.shape[2], k.shape[2]
        whole = self.window is None or source <= self.window
        if seen is None and time == source and whole:
            return None
        allowed = _causal(q, k)
        if self.window is not None:
            allowed = allowed & (_distance(q, k) < self.window)
        # A padded destination sees itself: a row without any source would be a softmax over nothing.
        return allowed if seen is None else (allowed & seen[:, None, None]) | (_distance(q, k) == 0)[None, None]

    def _alibi(self, q: Tensor, k: Tensor) -> Tensor | None:
        if self.slopes is None:
            return None
        return -(self.slopes.to(q)[:, None, None] * _distance(q, k).clamp(min=0))[None]


def _distance(q: Tensor, k: Tensor) -> Int[Tensor, "time source"]:
    """How many tokens before each destination each source is."""
    time, source = q.shape[2], k.shape[2]
    return torch.arange(source - time, source, device=q.device)[:, None] - torch.arange(source, device=q.device)


def _causal(q: Tensor, k: Tensor) -> Bool[Tensor, "1 1 time source"]:
    return (_distance(q, k) >= 0)[None, None]


@register
class LensAttentionAdapter(SeamAdapter):
    """Hooks around `LensAttention.attend`, which is told the bias of its scores."""

    family: str = "softmax"
    mixer_classes: ClassVar[tuple[str, ...]] = ("LensAttention",)

    def around(
        self,
        q: Float[Tensor, "batch heads time key"],
        k: Float[Tensor, "batch groups source key"],
        v: Float[Tensor, "batch groups source value"],
        mask: Tensor | None,
        other: Any,
        fused: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Float[Tensor, "batch time heads value"]:
        module: Any = self.module
        plain = module.softcap is None and module.sinks is None
        softcap, sinks = module.softcap, module.sinks
        return self.attend(
            q, k, v, mask, module.scale, fused if plain else None, softcap=softcap, sinks=sinks, bias=other
        )
