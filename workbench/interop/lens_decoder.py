"""The architecture of a HookedTransformer as a plain decoder over the very same parameters.

TransformerLens 3.9 computes in modules full of hook points of its own. This decoder holds the parameters of such a
model, folded and centred as they may be, and nothing else, so that the model's adapters, hooks and caches are ours.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench.interop.lens_attention import LensAttention, RotaryTables
from workbench.interop.lens_norm import LensNorm
from workbench.zoo.cache import LayerCache, ZooCache
from workbench.zoo.model import ZooOutput


class Matrix(nn.Module):
    """``x W + b`` with ``W [in, out]``, TransformerLens' way round; `bias` may be None."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        out = x @ self.weight
        return out if self.bias is None else out + self.bias


class LensMLP(nn.Module):
    """``down(act(up(x)))``, or ``down(act(gate(x)) up(x) + bias)``; a norm after the activation for SoLU."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.act = source.act_fn
        gated = hasattr(source, "W_gate")
        self.gate_proj = Matrix(source.W_gate) if gated else None
        self.up_proj = Matrix(source.W_in, None if gated else source.b_in)
        self.bias = source.b_in if gated else None
        self.norm = LensNorm.of(source.ln) if getattr(source, "ln", None) is not None else None
        self.down_proj = Matrix(source.W_out, source.b_out)

    def forward(self, x: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time model"]:
        if self.gate_proj is None:
            hidden = self.act(self.up_proj(x))
            hidden = hidden if self.norm is None else self.norm(hidden)
        else:
            hidden = self.act(self.gate_proj(x)) * self.up_proj(x) + self.bias
        out: Tensor = self.down_proj(hidden)
        return out


class LensBlock(nn.Module):
    """Attention and MLP, each behind its norm (and with one after, for Gemma-2), in sequence or side by side."""

    def __init__(self, source: Any, rotary: RotaryTables | None) -> None:
        super().__init__()
        cfg = source.cfg
        after = bool(cfg.use_normalization_before_and_after)
        self.parallel = bool(cfg.parallel_attn_mlp)
        self.ln1, self.attn = LensNorm.of(source.ln1), LensAttention(source.attn, rotary)
        self.ln1_post = LensNorm.of(source.ln1_post) if after else nn.Identity()
        self.mlp = None if cfg.attn_only else LensMLP(source.mlp)
        if not cfg.attn_only:
            self.ln2 = LensNorm.of(source.ln2)
            self.ln2_post = LensNorm.of(source.ln2_post) if after else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None,
        position_ids: Int[Tensor, "#batch time"],
        cache: LayerCache | None,
    ) -> Float[Tensor, "batch time model"]:
        mixed: Tensor = self.ln1_post(self.attn(self.ln1(x), attention_mask, position_ids, cache))
        if self.mlp is None:
            return x + mixed
        if self.parallel:
            written: Tensor = self.ln2_post(self.mlp(self.ln2(x)))
            return x + mixed + written
        x = x + mixed
        written = self.ln2_post(self.mlp(self.ln2(x)))
        return x + written


class LensDecoder(nn.Module):
    """A HookedTransformer's parameters in a decoder that is called as the zoo's are.

    Attributes:
        config: `n_ctx` alone, where the workbench looks for the longest text.
    """

    def __init__(self, source: Any) -> None:
        """`source` is a HookedTransformer whose configuration `workbench.interop.transformer_lens` has accepted."""
        super().__init__()
        cfg = source.cfg
        self.config = SimpleNamespace(n_ctx=int(cfg.n_ctx))
        self.logit_cap = float(cfg.output_logits_soft_cap) if cfg.output_logits_soft_cap > 0 else None
        self.embed = _table(source.embed.W_E)
        self.embed_norm = LensNorm.of(source.embed.ln) if cfg.post_embedding_ln else None
        self.pos_embed = _table(source.pos_embed.W_pos) if cfg.positional_embedding_type == "standard" else None
        tables: dict[str, RotaryTables] = {}
        blocks = []
        for block in source.blocks:
            kind = block.attn.attn_type
            if cfg.positional_embedding_type == "rotary" and kind not in tables:
                tables[kind] = _rotary(block.attn)
            blocks.append(LensBlock(block, tables.get(kind)))
        self.blocks = nn.ModuleList(blocks)
        # Without normalisation a HookedTransformer has no module there.
        self.ln_final = LensNorm.of(source.ln_final) if hasattr(source, "ln_final") else nn.Identity()
        self.unembed = Matrix(source.unembed.W_U, source.unembed.b_U)

    def forward(
        self,
        input_ids: Int[Tensor, "batch time"],
        attention_mask: Int[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "#batch time"] | None = None,
        cache: ZooCache | None = None,
        use_cache: bool = False,
    ) -> ZooOutput:
        """Logits for every position; `attention_mask` is 0 at left padding and spans cached tokens, too."""
        if cache is None and use_cache:
            cache = ZooCache(len(self.blocks))
        seen = 0 if cache is None else cache.seen
        if position_ids is None:
            position_ids = torch.arange(seen, seen + input_ids.shape[1], device=input_ids.device)[None]
        mask = None if attention_mask is None or bool(attention_mask.all()) else attention_mask.bool()
        x = self.embed(input_ids)
        x = x if self.embed_norm is None else self.embed_norm(x)
        x = x if self.pos_embed is None else x + self.pos_embed(position_ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, position_ids, None if cache is None else cache.layers[layer])
        if cache is not None:
            cache.seen += input_ids.shape[1]
        logits = self.unembed(self.ln_final(x))
        return ZooOutput(
            logits if self.logit_cap is None else self.logit_cap * torch.tanh(logits / self.logit_cap), cache
        )


def _table(weight: nn.Parameter) -> nn.Embedding:
    table: nn.Embedding = nn.Embedding.from_pretrained(weight)
    table.weight = weight
    return table


def _rotary(attention: Any) -> RotaryTables:
    cfg = attention.cfg
    local = attention.attn_type == "local" and cfg.rotary_base_local is not None
    base = cfg.rotary_base_local if local else cfg.rotary_base

    def make(length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        sin, cos = attention.calculate_sin_cos_rotary(cfg.rotary_dim, length, base=base, dtype=dtype)
        return sin, cos

    return RotaryTables(make)
