"""RWKV-7 (Peng et al. 2025, arXiv:2503.14456): a delta rule with a decay a channel and erasing that is its own."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.forms import Delta
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, ValuePath
from workbench.zoo.config import ZooConfig
from workbench.zoo.handing import hand_on, handed_on
from workbench.zoo.low_rank import LowRank
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

# Exponents in x_i(j) = 1 - (j / width)^(e * (1 - layer / layers)), the share of its predecessor that a token begins
# with in each channel j (the paper's appendix on initialisation).
SHARES = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}
SLOWEST = math.exp(-0.5)  # the decay is at least exp(-SLOWEST) = 0.545: the state never forgets faster


@register("rwkv7")
class RWKV7(Mixer):
    """RWKV-7's time mixing (sections 4.1 and 4.2). The channel mixing of the published models is not part of it.

    With the token shift ``x_i = x + (x_prev - x) mix_i``, per head, and ``kh`` the normalised ``k * removal``:

        S_t = (diag(w_t) - (a_t kh_t) kh_t') S_{t-1} + k~_t v_t'        w = exp(-exp(-1/2) sigmoid(w_lora))
        k~ = k (1 + (a - 1) replacement)                                v = v' + (v'_layer0 - v') sigmoid(v_lora)
        out = o_proj(g (norm(S' r) + (sum_i r_i bonus_i k~_i) v))       g = g_lora, a = sigmoid(a_lora)

    As a `Delta` form, which decays first: probe ``kh / w``, erase ``a kh``. The first layer hands its values on
    (`workbench.zoo.handing`) as its projection wrote them: an edit of its ``hook_v`` concerns that layer alone.

    Options: ``head_dim`` (64), ``rank`` (32) of the low-rank maps, one number or one for each of ``"w"``, ``"a"``,
    ``"g"`` and ``"v"``, ``norm_eps`` (1e-5 a channel of a head, 64e-5 for heads of 64), ``initialisation``:
    ``"reference"`` or ``"mimetic"`` (see `initialise`).
    """

    family = "rwkv7"
    operands = ("q", "k", "v", "log_decay", "probe", "erase")
    per_channel_decay = True

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        width, options = config.d_model, config.mixer_options
        self.layer, self.layers, self.options = layer, config.n_layers, options
        self.d_value = options.get("head_dim", 64)
        self.n_heads = width // self.d_value
        self.norm_eps = options.get("norm_eps", 1e-5 * self.d_value)
        rank = options.get("rank", 32)
        ranks = rank if isinstance(rank, dict) else dict.fromkeys("wagv", rank)
        self.mix = nn.ParameterDict({name: torch.empty(width) for name in SHARES})
        self.r_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.w_lora = LowRank(width, width, ranks["w"], torch.tanh)
        self.a_lora = LowRank(width, width, ranks["a"])
        self.g_lora = LowRank(width, width, ranks["g"], torch.sigmoid, bias=False)
        if layer > 0:
            self.v_lora = LowRank(width, width, ranks["v"])
        self.removal = nn.Parameter(torch.empty(width))
        self.replacement = nn.Parameter(torch.empty(width))
        self.bonus = nn.Parameter(torch.empty(self.n_heads, self.d_value))
        self.norm = nn.GroupNorm(self.n_heads, width, eps=self.norm_eps)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Start as the reference does: channels with decays of all lengths, shares of the predecessor from 0 to 1.

        The output projection alone starts like the other members', small and not zero. ``"mimetic"``, after Trockman et
        al. 2024 (arXiv:2410.11135), lets receptance and key start as one matrix: what is asked for is what is written.
        """
        width = self.r_proj.in_features
        depth = self.layer / max(1, self.layers - 1)
        channel = torch.arange(width)
        for name, exponent in SHARES.items():
            self.mix[name].copy_(1 - (channel / width) ** (exponent * (1 - self.layer / self.layers)))
        line = channel / (width - 1) - 0.5
        half = (self.d_value - 1) / 2
        bow = (channel % self.d_value - half) / half
        bow = bow * bow.abs()
        self.w_lora.initialise(-5.5 + 6 * (line + 0.5) ** (1 + depth**0.3) + 2.5 * bow)
        self.a_lora.initialise(-0.19 + 0.3 * bow + 0.4 * line)
        self.g_lora.initialise()
        if self.layer > 0:
            self.v_lora.initialise(0.73 - 0.4 * line)
        self.removal.copy_(0.71 - 0.1 * line)
        self.replacement.fill_(1.02)
        self.bonus.fill_(-0.04)
        self.norm.weight.fill_(((1 + self.layer) / self.layers) ** 0.7)
        self.norm.bias.zero_()
        for projection, size in ((self.r_proj, 0.5), (self.k_proj, 0.05), (self.v_proj, 0.5)):
            nn.init.uniform_(projection.weight, -size / width**0.5, size / width**0.5)
        scheme = self.options.get("initialisation", "reference")
        if scheme == "mimetic":
            self.k_proj.weight.copy_(self.r_proj.weight)
        elif scheme != "reference":
            raise ValueError(f"initialisation {scheme!r} is neither 'reference' nor 'mimetic'")

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

        def shifted(name: str) -> Tensor:
            mixed: Tensor = hidden + step * self.mix[name]
            return mixed

        receptance, key = self.r_proj(shifted("r")).to(wide), self.k_proj(shifted("k")).to(wide)
        rate = torch.sigmoid(self.a_lora(shifted("a")).to(wide))
        log_decay = -SLOWEST * torch.sigmoid(self.w_lora(shifted("w")).to(wide))
        if mask is not None:
            log_decay = log_decay * mask
        log_decay = self._heads(log_decay)
        direction = F.normalize(self._heads(key * self.removal), dim=-1)
        v, path = self._values(shifted("v"), wide)
        form = Delta(
            q=self._heads(receptance),
            k=self._heads(key * (1 + (rate - 1) * self.replacement)),
            v=v,
            log_decay=log_decay,
            probe=direction * torch.exp(-log_decay),
            erase=direction * self._heads(rate),
        )
        return Inlet(form, gate=self._heads(self.g_lora(shifted("g")).to(wide)), path=path)

    def _values(
        self, hidden: Float[Tensor, "batch time model"], wide: torch.dtype
    ) -> tuple[mixing.Values, ValuePath | None]:
        own = self._heads(self.v_proj(hidden).to(wide))
        if self.layer == 0:
            hand_on("values", own)
            return own, None
        first = handed_on("values")
        share = mixing.fixed(self._heads(torch.sigmoid(self.v_lora(hidden).to(wide))))
        # The path begins after the factor: the norm's mean goes over channels, each of which has a factor of its own.
        kept = own * (1 - share)
        return kept + share * first, ValuePath(kept, offset=lambda: share * first)

    def read_out(self, z: mixing.Values, inlet: Inlet) -> Outlet:
        form = inlet.form
        assert isinstance(form, Delta)  # `read_in` made it
        weight, bias = (parameter.to(z.dtype).unflatten(0, (self.n_heads, -1)) for parameter in self.norm.parameters())
        return Outlet(
            scale=mixing.inverse_deviation(z, self.norm_eps) * weight,
            skip=(form.q * form.k * self.bonus).sum(-1, keepdim=True),
            offset=bias[None, None],
            centred=True,
        )

    def _heads(self, flat: Float[Tensor, "*batch model"]) -> Float[Tensor, "*batch heads key"]:
        split: Tensor = flat.unflatten(-1, (self.n_heads, self.d_value))
        return split
