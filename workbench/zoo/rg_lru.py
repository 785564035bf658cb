"""The recurrent block of Griffin (De et al. 2024, arXiv:2402.19427): a short convolution, the RG-LRU, a GeLU gate."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.errors import InputError
from workbench.forms import DiagonalDecay
from workbench.memory import Memory
from workbench.mixing import Inlet
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

SHARPNESS = 8.0  # the paper's c
STEEPEST = 1000.0


class BlockDiagonal(nn.Module):
    """``sigmoid(x W + b)`` with a block-diagonal W."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, width // blocks, width // blocks))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        blocks, size, _ = self.weight.shape
        mixed = torch.einsum("btni,nij->btnj", x.unflatten(-1, (blocks, size)), self.weight.to(x.dtype))
        return torch.sigmoid(mixed.flatten(2) + self.bias.to(x.dtype))


@register("rg_lru")
class RGLRU(Mixer):
    """Griffin's recurrent block (sections 2.3 and 2.4, equations 1 to 4), one head a channel.

        a_t = exp(-8 softplus(decay) r_t)        h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t x_t)

    with ``x`` the convolution of ``x_proj`` and ``r``, ``i`` sigmoids of block-diagonal maps of it; the output is
    ``o_proj(gelu(y_proj) h)``. Where a position is 0 after earlier tokens, a new text begins: the state is forgotten
    (decay 0) and the factor of ``i x`` is 1.

    Options: ``width`` (``d_model``), ``blocks`` of the two gates (4), ``conv_kernel`` (4), ``decay_min`` (0.9) and
    ``decay_max`` (0.999), between which ``a^8`` starts.

    Raises:
        InputError: the blocks do not divide the width.
    """

    family = "rg_lru"
    operands = ("v", "log_decay", "write")
    per_channel_decay = True
    d_value = 1

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__()
        self.options = config.mixer_options
        self.n_heads = width = self.options.get("width", config.d_model)
        blocks, taps = self.options.get("blocks", 4), self.options.get("conv_kernel", 4)
        if width % blocks:
            raise InputError(f"{blocks} blocks do not divide a width of {width}.")
        self.x_proj = nn.Linear(config.d_model, width)
        self.y_proj = nn.Linear(config.d_model, width)
        self.conv = nn.Conv1d(width, width, taps, groups=width)
        self.recurrence_gate = BlockDiagonal(width, blocks)
        self.input_gate = BlockDiagonal(width, blocks)
        self.decay = nn.Parameter(torch.empty(width))
        self.o_proj = nn.Linear(width, config.d_model)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """The paper's decays; a convolution near the identity; everything else as torch draws it, without biases."""
        for gate in (self.recurrence_gate, self.input_gate):
            nn.init.normal_(gate.weight, std=gate.weight.shape[-1] ** -0.5)
            nn.init.zeros_(gate.bias)
        for projection in (self.x_proj, self.y_proj, self.o_proj):
            nn.init.zeros_(projection.bias)
        low, high = self.options.get("decay_min", 0.9), self.options.get("decay_max", 0.999)
        power = torch.rand(self.n_heads) * (high - low) + low
        self.decay.copy_((-power.log() / SHARPNESS).expm1().log())
        nn.init.normal_(self.conv.weight, std=0.5 / math.sqrt(self.conv.weight.shape[-1]))
        self.conv.weight[:, 0, -1] += 0.5
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        begins = self._begins(hidden, mask, memory, positions)
        values = self.x_proj(hidden)
        values = values if mask is None else values * mask
        conv = mixing.short_convolution(values, self.conv.weight[:, 0], self.conv.bias, "linear", mask, memory)
        gate = F.gelu(self.y_proj(hidden).to(conv.active.dtype), approximate="tanh")
        with torch.autocast(hidden.device.type, enabled=False):  # products of many decays are not for bfloat16
            rate = SHARPNESS * F.softplus(self.decay.to(conv.active.dtype))
            log_decay = -rate * self.recurrence_gate(conv.active)
            write = _root(-torch.expm1(2 * log_decay))
            source = mixing.fixed(self.input_gate(conv.active))
        if mask is not None:
            log_decay = log_decay * mask
        if begins is not None:
            write, log_decay = write.masked_fill(begins, 1.0), log_decay.masked_fill(begins, -torch.inf)
        conv = conv.scaled(source)
        v = conv.active[..., None]
        ones = torch.ones_like(v[:, :, :1])
        form = DiagonalDecay(q=ones, k=ones, v=v, log_decay=log_decay[..., None], write=write)
        return Inlet(form, gate[..., None], conv.path(slice(None), self.n_heads))

    def _begins(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None,
    ) -> Bool[Tensor, "batch time 1"] | None:
        """Where a text begins after another one in its row; the row's first token resets nothing, pads or not."""
        real = hidden.new_ones(*hidden.shape[:2], 1) if mask is None else mask
        earlier = memory.get("seen")
        seen = real.cumsum(1) if earlier is None else real.cumsum(1) + earlier
        memory.set("seen", seen[:, -1:])
        if positions is None:
            return None
        begins = (positions == 0)[..., None] & (seen > real) & (real > 0)
        return begins if bool(begins.any()) else None


def _root(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The square root, with a slope of at most `STEEPEST` (and constant to a second derivative).

    A gate that closes altogether asks for the root at 0, whose slope is infinite: one such token is the end of a
    training run. Griffin's authors bound the slope, too.
    """
    root = x.detach().sqrt()
    slope = 0.5 / root.clamp(min=0.5 / STEEPEST)
    return root + (x - x.detach()) * slope
