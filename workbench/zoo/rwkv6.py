"""RWKV-6, Finch (Peng et al. 2024, arXiv:2404.05892): a decay a channel that the token sets, read exclusively."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet
from workbench.zoo.config import ZooConfig
from workbench.zoo.low_rank import LowRank
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

MIXED = ("w", "k", "v", "r", "g")  # in the order in which `mix_up` holds them


@register("rwkv6")
class RWKV6(Mixer):
    """RWKV-6's time mixing (section 4.2). The channel mixing of the published models is not part of it.

    What a projection reads lies between the token and its predecessor, at a share that the two decide (equations 14 to
    16): ``x_i = x + (x_prev - x) (mix_i + tanh((x + (x_prev - x) mix_x) down_i) up_i)``. Then per head (17 to 19)

        S_t = diag(w_t) S_{t-1} + k_t v_t'        w_t = exp(-exp(w_lora(x_w)))
        out = o_proj(silu(g) norm(S_{t-1}' r_t + (sum_i r_i bonus_i k_i) v_t))

    Options: ``head_dim`` (64), ``mix_rank`` (32), ``rank`` (64) of the decay's low-rank map, ``norm_eps`` (1e-5 a
    channel of a head, 64e-5 for heads of 64).
    """

    family = "rwkv6"
    operands = ("q", "k", "v", "log_decay", "diagonal")
    per_channel_decay = True

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        width, options = config.d_model, config.mixer_options
        self.layer, self.layers = layer, config.n_layers
        self.d_value = options.get("head_dim", 64)
        self.n_heads = width // self.d_value
        self.norm_eps = options.get("norm_eps", 1e-5 * self.d_value)
        rank = options.get("mix_rank", 32)
        self.mix = nn.ParameterDict({name: torch.empty(width) for name in ("x", *MIXED)})
        self.mix_down = nn.Linear(width, len(MIXED) * rank, bias=False)
        self.mix_up = nn.Parameter(torch.empty(len(MIXED), rank, width))
        self.r_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.g_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.w_lora = LowRank(width, width, options.get("rank", 64), torch.tanh)
        self.bonus = nn.Parameter(torch.empty(self.n_heads, self.d_value))
        self.norm = nn.GroupNorm(self.n_heads, width, eps=self.norm_eps)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Decays, bonuses and shares as the reference starts them, with shares that no token changes yet.

        The projections stay as they are.
        """
        width = self.r_proj.in_features
        depth, rest = self.layer / max(1, self.layers - 1), 1 - self.layer / self.layers
        channel = torch.arange(width)
        share = (channel / width) ** rest
        for name in ("x", "w", "k"):
            self.mix[name].copy_(1 - share)
        self.mix["v"].copy_(1 - share - 0.3 * depth)
        for name in ("r", "g"):
            self.mix[name].copy_(1 - share.sqrt())
        nn.init.zeros_(self.mix_down.weight)
        nn.init.uniform_(self.mix_up, -0.01, 0.01)
        line = channel / (width - 1)
        self.w_lora.initialise(-6 + 5 * line ** (0.7 + 1.3 * depth))
        self.bonus.copy_((depth * (1 - line) + 0.1 * ((channel + 1) % 3 - 1)).view_as(self.bonus))
        self.norm.reset_parameters()

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        if mask is not None:
            hidden = hidden * mask  # so that the first token finds no predecessor
        step = mixing.shifted(hidden, memory) - hidden
        wide = torch.promote_types(hidden.dtype, torch.float32)
        mixed = self._mixed(hidden, step)
        log_decay = -self.w_lora(mixed["w"]).to(wide).exp()
        if mask is not None:
            log_decay = log_decay * mask
        q, k, v = (self._heads(self.get_submodule(f"{name}_proj")(mixed[name]).to(wide)) for name in "rkv")
        form = DiagonalDecay(q, k, v, log_decay=self._heads(log_decay), diagonal=(q * k * self.bonus.to(wide)).sum(-1))
        return Inlet(form, gate=self._heads(F.silu(self.g_proj(mixed["g"]).to(wide))))

    def _mixed(
        self, hidden: Float[Tensor, "batch time model"], step: Float[Tensor, "batch time model"]
    ) -> dict[str, Float[Tensor, "batch time model"]]:
        """What each projection reads. A linearised run holds the shares that the tokens decide fixed, too."""
        small = torch.tanh(self.mix_down(hidden + step * self.mix["x"])).unflatten(-1, (len(MIXED), -1))
        moved = torch.einsum("btnr,nrd->nbtd", small, self.mix_up)
        return {name: hidden + step * mixing.fixed(self.mix[name] + moved[place]) for place, name in enumerate(MIXED)}

    def read_out(self, z: mixing.Values, inlet: Inlet) -> Outlet:
        weight, bias = (parameter.to(z.dtype).unflatten(0, (self.n_heads, -1)) for parameter in self.norm.parameters())
        return Outlet(scale=mixing.inverse_deviation(z, self.norm_eps) * weight, offset=bias[None, None], centred=True)

    def _heads(self, flat: Float[Tensor, "*batch model"]) -> Float[Tensor, "*batch heads key"]:
        split: Tensor = flat.unflatten(-1, (self.n_heads, self.d_value))
        return split
