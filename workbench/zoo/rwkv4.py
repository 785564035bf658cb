"""RWKV-4 (Peng et al. 2023, arXiv:2305.13048): an exponentially decaying softmax over the past, channel by channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench import kernels, mixing
from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

NOTHING = -1e30  # the logarithm of a weight that is not there; finite, so that differences are numbers
FORGOTTEN = -1e4  # exp() of it is 0 even in float64, and running sums around it keep their digits


@dataclass(frozen=True)
class Weights:
    """RWKV-4's averaging of values as a canonical form, and what goes on to the next call.

    Attributes:
        form: one head a channel, one key, one value; `read` is one over the normaliser, `diagonal` the bonus's share.
        maximum: the running maximum after the last step; state and normaliser are kept divided by its exponential.
        normaliser: what the state would be if all values had been 1.
    """

    form: DiagonalDecay
    maximum: Float[Tensor, "batch channels"]
    normaliser: Float[Tensor, "batch channels"]


def weigh(
    key: Float[Tensor, "batch time channels"],
    value: Float[Tensor, "batch time channels"],
    log_decay: Float[Tensor, " channels"],
    bonus: Float[Tensor, " channels"],
    mask: Float[Tensor, "batch time 1"] | None = None,
    start: tuple[Float[Tensor, "batch channels"], Float[Tensor, "batch channels"]] | None = None,
) -> Weights:
    """Equation 14 as a decay that is read exclusively, stabilised as in the paper's appendix on numerical stability.

        wkv_t = (sum_{s<t} exp(k_s - (t-1-s) w) v_s + exp(u + k_t) v_t) / (the same with v = 1)

    With the running maximum m of ``k_s - (t-s) w`` and ``p_t = max(m_{t-1}, u + k_t)``, the state before step t counts
    ``exp(m_{t-1} - p_t)`` and the token itself ``exp(u + k_t - p_t)``; the normaliser needs a scan of its own first.

    Args:
        log_decay: ``-w``, at most 0.
        bonus: `u`.
        mask: 0 at pads, which weigh nothing.
        start: the maximum and the normaliser that an earlier call ended with.
    """
    decay, log_write = log_decay.to(key.dtype).expand_as(key), key
    if mask is not None:
        decay, log_write = decay * mask, key.masked_fill(mask == 0, NOTHING)
    decay, write, maximum = mixing.stabilised(decay, log_write, None if start is None else start[0].to(key.dtype))
    if mask is not None:
        write = write * mask  # where only pads have been, their weight is the largest there is
    one = torch.ones_like(key[:, :, :1, None])
    form = DiagonalDecay(q=one, k=one, v=value[..., None], log_decay=decay.clamp(min=FORGOTTEN)[..., None], write=write)

    # Plain reading with v = 1: the normaliser after each step.
    ones = DiagonalDecay(one, one, torch.ones_like(form.v), form.log_decay, write=write)
    first = None if start is None else start[1].to(key.dtype)
    after, _ = kernels.forward(ones, None if first is None else first[..., None, None])
    after = after[..., 0]
    if start is None:
        start = (torch.full_like(maximum[:, 0], NOTHING), torch.zeros_like(maximum[:, 0]))
    maximum_before = torch.cat([start[0].to(maximum.dtype)[:, None], maximum[:, :-1]], dim=1)
    before = torch.cat([start[1].to(after.dtype)[:, None], after[:, :-1]], dim=1)

    own = key + bonus.to(key.dtype)
    with torch.no_grad():
        largest = torch.maximum(maximum_before, own)
    past, own = (maximum_before - largest).exp(), (own - largest).exp()
    total = past * before + own
    form = DiagonalDecay(
        q=one, k=one, v=form.v, log_decay=form.log_decay, write=write, read=past / total, diagonal=own / total
    )
    return Weights(form, maximum[:, -1], after[:, -1])


@register("rwkv4")
class RWKV4(Mixer):
    """RWKV-4's time mixing (section 3.1). The channel mixing of the published models is not part of it.

    ``out = o_proj(sigmoid(r) wkv)`` with `weigh`'s wkv, and r, k and v from ``mix x + (1 - mix) x_prev``. There are no
    queries: every channel is a head of its own, whose weights depend on the keys and on the distance.

    Options: none.
    """

    family = "rwkv4"
    operands = ("v", "log_decay", "write", "read", "diagonal")

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        width = config.d_model
        self.layer, self.layers = layer, config.n_layers
        self.n_heads, self.d_value = width, 1
        self.mix = nn.ParameterDict({name: torch.empty(width) for name in "rkv"})
        self.log_rate = nn.Parameter(torch.empty(width))
        self.bonus = nn.Parameter(torch.empty(width))
        self.r_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Decays, bonuses and shares as in the paper's appendix on initialisation; the projections stay as they are."""
        width = self.r_proj.in_features
        depth, rest = self.layer / max(1, self.layers - 1), 1 - self.layer / self.layers
        channel = torch.arange(width)
        share = (channel / width) ** rest
        self.mix["k"].copy_(share)
        self.mix["v"].copy_(share + 0.3 * depth)
        self.mix["r"].copy_(share.sqrt())
        self.log_rate.copy_(-5 + 8 * (channel / (width - 1)) ** (0.7 + 1.3 * depth))
        self.bonus.copy_(math.log(0.3) + 0.5 * ((channel + 1) % 3 - 1))

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        if mask is not None:
            hidden = hidden * mask  # so that the first token finds no predecessor
        previous = mixing.shifted(hidden, memory)
        wide = torch.promote_types(hidden.dtype, torch.float32)

        def projected(name: str) -> Tensor:
            share = self.mix[name]
            out: Tensor = self.get_submodule(f"{name}_proj")(share * hidden + (1 - share) * previous)
            return out.to(wide)

        maximum, normaliser = memory.get("maximum"), memory.get("normaliser")
        start = None if maximum is None or normaliser is None else (maximum, normaliser)
        weights = weigh(projected("k"), projected("v"), -self.log_rate.to(wide).exp(), self.bonus, mask, start)
        memory.set("maximum", weights.maximum)
        memory.set("normaliser", weights.normaliser)
        return Inlet(weights.form, gate=torch.sigmoid(projected("r"))[..., None])
