"""The language model that every zoo member shares: only ``Block.mixer`` differs between members."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.zoo import registry
from workbench.zoo.cache import LayerCache, ZooCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.handing import forward_pass


@dataclass
class ZooOutput:
    """What ``ZooModel.forward`` returns, with the field names of the Hugging Face outputs."""

    logits: Float[Tensor, "batch time vocab"]
    past_key_values: ZooCache | None = None


class RMSNorm(nn.Module):
    """``weight * x / rms(x)`` in float32 at least (Zhang and Sennrich 2019, arXiv:1910.07467, equation 4)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        wide = torch.promote_types(x.dtype, torch.float32)
        return F.rms_norm(x.to(wide), self.weight.shape, self.weight.to(wide), self.eps).to(x.dtype)


class MLP(nn.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))`` (Shazeer 2020, arXiv:2002.05202, equation 6)."""

    def __init__(self, config: ZooConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_mlp, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_mlp, bias=False)
        self.down_proj = nn.Linear(config.d_mlp, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time model"]:
        output: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class Block(nn.Module):
    """Mixer and MLP, each behind a pre-norm and added to the residual stream."""

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__()
        self.norm1 = RMSNorm(config.d_model, config.norm_eps)
        own = config.of_layer(layer)
        assert isinstance(own.mixer, str)
        self.mixer = registry.mixer(own.mixer)(own, layer)
        self.norm2 = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        attention_mask: Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "#batch time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch time model"]:
        x = x + self.mixer(self.norm1(x), attention_mask=attention_mask, position_ids=position_ids, cache=cache)
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class Decoder(nn.Module):
    """Token embedding, blocks, final norm and unembedding, whatever the blocks are.

    A block is called as ``Block.forward`` is. The unembedding shares the embedding's weight if `tied`.
    """

    def __init__(self, vocab_size: int, d_model: int, blocks: Iterable[nn.Module], norm: nn.Module, tied: bool = True):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.unembed = nn.Linear(d_model, vocab_size, bias=False)
        if tied:
            self.unembed.weight = self.embed.weight

    def forward(
        self,
        input_ids: Int[Tensor, "batch time"],
        attention_mask: Int[Tensor, "batch source"] | Bool[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "_ time"] | None = None,
        cache: ZooCache | None = None,
        use_cache: bool = False,
    ) -> ZooOutput:
        """Logits for every position.

        ``attention_mask`` is 1 at tokens and 0 at (left) padding; while decoding it spans the cached tokens too.
        With ``use_cache`` the output carries a cache to pass to the next call.
        """
        if cache is None and use_cache:
            cache = ZooCache(len(self.blocks))
        seen = 0 if cache is None else cache.seen
        if position_ids is None:
            position_ids = torch.arange(seen, seen + input_ids.shape[1], device=input_ids.device)[None]
        mask = None if attention_mask is None or bool(attention_mask.all()) else attention_mask.bool()
        x = self.embed(input_ids)
        with forward_pass():
            for i, block in enumerate(self.blocks):
                x = block(x, mask, position_ids, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.seen += input_ids.shape[1]
        return ZooOutput(self.unembed(self.norm(x)), cache)


class ZooModel(Decoder):
    """A member of the zoo: every block has the config's mixer, and the unembedding is tied to the embedding."""

    norm: RMSNorm

    def __init__(self, config: ZooConfig):
        blocks = (Block(config, layer) for layer in range(config.n_layers))
        super().__init__(config.vocab_size, config.d_model, blocks, RMSNorm(config.d_model, config.norm_eps))
        self.config = config
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Normal weights as the config says, outputs into the residual stream scaled down as in GPT-2.

        A mixer with an initialisation of its own (``initialise``) then applies it.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                shared = module.weight is self.embed.weight
                std = self.config.embedding_range if shared else self.config.initializer_range
                nn.init.normal_(module.weight, std=std)
        # Tokens share a direction from the start. Without biases it is the only constant a query or a key can be
        # made of, and a head that looks at a position whatever the token needs one; softmax does not see it in
        # the tied unembedding, where it moves all logits alike.
        self.embed.weight += self.config.embedding_mean
        self.norm.weight.fill_(self.config.final_norm)
        for name, module in self.named_modules():
            own = getattr(module, "initialise", None)
            if name.endswith(".mixer") and own is not None:
                own()
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and name.endswith(("o_proj", "out_proj", "down_proj")):
                module.weight /= (2 * self.config.n_layers) ** 0.5
