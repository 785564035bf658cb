"""Causal softmax attention with rotary positions: the mixer of Llama."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.zoo.cache import LayerCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.registry import register


def rotary(
    positions: Int[Tensor, "batch time"], head_dim: int, theta: float
) -> tuple[Float[Tensor, "batch 1 time head_dim"], Float[Tensor, "batch 1 time head_dim"]]:
    """Cosines and sines of the rotary angles, laid out for ``rotate`` (Su et al. 2021, arXiv:2104.09864, eq. 34)."""
    inverse = theta ** (-torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim)
    angles = positions[:, None, :, None].float() * inverse
    return torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()


def rotate(
    x: Float[Tensor, "batch head time head_dim"],
    cos: Float[Tensor, "#batch 1 time head_dim"],
    sin: Float[Tensor, "#batch 1 time head_dim"],
) -> Float[Tensor, "batch head time head_dim"]:
    """Turn the pair ``(x[i], x[i + head_dim/2])`` by its angle: Llama's convention, not the interleaved one."""
    low, high = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-high, low], -1) * sin.to(x.dtype)


@register("attention")
class Attention(nn.Module):
    """Llama's attention: no biases, rotary positions, one key-value head a query head.

    Options: ``n_heads`` (4), ``rope_theta`` (10000), ``window`` (None: how many tokens back a token sees, itself
    included; the local attention of hybrids such as Griffin), ``initialisation``: ``"reference"`` (normal weights) or
    ``"previous-token"`` (see ``initialise``). The initialisation changes where training starts, not the architecture.
    """

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__()
        options = config.mixer_options
        self.layer = layer
        self.options = options
        self.n_heads = options.get("n_heads", 4)
        self.rope_theta = options.get("rope_theta", 10_000.0)
        self.window: int | None = options.get("window")
        self.head_dim = config.d_model // self.n_heads
        self.scale = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.k_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.o_proj = nn.Linear(config.d_model, config.d_model, bias=False)

    @torch.no_grad()
    def initialise(self) -> None:
        """With ``"previous-token"``, make the heads of layer 0 look one token back from the start.

        Embeddings begin with a component along ``(1, ..., 1)`` (``ZooConfig.embedding_mean``). The keys get a constant
        from it in the four fastest rotary pairs, the queries the same constant turned back by one position, so the
        score peaks at a distance of one. In the spirit of mimetic initialisation (Trockman and Kolter 2023,
        arXiv:2305.09828), which starts from patterns that trained models show.
        """
        scheme = self.options.get("initialisation", "reference")
        if scheme not in ("reference", "previous-token"):
            raise ValueError(f"initialisation {scheme!r} is neither 'reference' nor 'previous-token'")
        if scheme == "reference" or self.layer > 0:
            return
        width = self.q_proj.in_features
        key = torch.zeros(1, 1, 1, self.head_dim)
        key[..., :4] = 0.7
        query = rotate(key, *rotary(torch.tensor([[-1]]), self.head_dim, self.rope_theta))
        for projection, constant in ((self.q_proj, query), (self.k_proj, key)):
            projection.weight += constant.flatten().repeat(self.n_heads)[:, None] / width**0.5

    def attend(
        self,
        q: Float[Tensor, "batch head time head_dim"],
        k: Float[Tensor, "batch head source head_dim"],
        v: Float[Tensor, "batch head source head_dim"],
        mask: Bool[Tensor, "#batch 1 time source"] | None,
        scale: float,
    ) -> Float[Tensor, "batch head time head_dim"]:
        """Attention proper, on rotated queries and keys; ``mask`` is True where a source may be seen.

        A ``mask`` of None means plain causal attention with as many sources as destinations. Override or replace
        this method to observe or change the attention.
        """
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "_ time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        batch, time, width = hidden_states.shape
        q, k, v = (
            projection(hidden_states).view(batch, time, self.n_heads, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if position_ids is None:
            start = cache["key"].shape[2] if cache else 0
            position_ids = torch.arange(start, start + time, device=hidden_states.device)[None]
        cos, sin = rotary(position_ids, self.head_dim, self.rope_theta)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache["key"], k], 2), torch.cat([cache["value"], v], 2)
            cache["key"], cache["value"] = k, v
        mask = _mask(attention_mask, time, k.shape[2], q.device, self.window)
        mixed = self.attend(q, k, v, mask, self.scale)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, time, width))
        return output


def _mask(
    attention_mask: Bool[Tensor, "batch source"] | None,
    time: int,
    sources: int,
    device: torch.device,
    window: int | None = None,
) -> Bool[Tensor, "#batch 1 time source"] | None:
    window = None if window is None or sources <= window else window
    if attention_mask is None and time == sources and window is None:
        return None
    destination = torch.arange(sources - time, sources, device=device)[:, None]
    source = torch.arange(sources, device=device)
    allowed = (source <= destination)[None, None]
    if window is not None:
        allowed = allowed & (source > destination - window)
    if attention_mask is None:
        return allowed
    # A padded destination sees itself: a row with no source at all would be a softmax over nothing, NaN.
    return (allowed & attention_mask[:, None, None, :]) | (source == destination)[None, None]
