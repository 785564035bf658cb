"""RecurrentGemma (Botev et al. 2024, arXiv:2404.07839): the RG-LRU of Griffin (De et al. 2024, arXiv:2402.19427).

Per channel, with the recurrence gate r, the input gate i and c = 8 (Griffin, section 2.4, equations 1 to 4):

    a_t = exp(-c softplus(lambda) r_t)        h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t x_t)

which is diagonal decay with one head a channel, K = V = 1, q = k = 1, v = i x and write strength sqrt(1 - a^2). Where a
text begins (position 0) the state is wiped: the decay is exactly 0 there and the write strength 1.

The recurrent block of transformers keeps its state in the module, not in the cache that it is handed, and never sees
the attention mask. Pads of a left-padded batch sit at position 0 like the first real token, so that token wipes their
state; what the pads put into the short convolution reaches the first tokens all the same, there and here.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import DiagonalDecay
from workbench.memory import Memory, NoMemory
from workbench.mixing import Inlet

DECAY_POWER = 8.0  # Griffin's c
STEEPEST_ROOT = 1000.0  # transformers lets no gradient of the square root grow beyond this


class ModuleMemory(Memory):
    """The memory that a recurrent block keeps in itself: ``conv1d_state`` and ``rg_lru.recurrent_states``.

    Rows that begin a text in this call start from zeros, whatever an earlier text left in the module (transformers
    lets one-token prompts read the old convolution state). Several tokens after a past continue from it, as one token
    does; transformers forgets the convolution's inputs there.
    """

    def __init__(self, module: nn.Module, begins: Bool[Tensor, " batch"]) -> None:
        self._block: Any = module
        self._begins = begins

    def _kept(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None or len(tensor) != len(self._begins) or bool(self._begins.all()):
            return None
        begins = self._begins.reshape(-1, *[1] * (tensor.dim() - 1))
        return torch.where(begins, torch.zeros_like(tensor), tensor)

    def get(self, name: str) -> Tensor | None:
        return self._kept(self._block.rg_lru.recurrent_states)

    def set(self, name: str, value: Tensor) -> None:
        self._block.rg_lru.recurrent_states = value

    def extend(
        self, inputs: Float[Tensor, "batch time channels"], taps: int, name: str = "conv"
    ) -> Float[Tensor, "batch past channels"]:
        kept = self._kept(self._block.conv1d_state)
        past = inputs[:, :0] if kept is None else kept.transpose(1, 2).to(inputs.dtype)
        full = torch.cat([past, inputs], dim=1)
        self._block.conv1d_state = F.pad(full, (0, 0, taps - 1, 0))[:, full.shape[1] :].transpose(1, 2)
        return past


@register
class RecurrentGemmaAdapter(RecurrentAdapter):
    """The recurrent block of RecurrentGemma; its local attention layers go through transformers' attention registry."""

    family: str = "recurrent_gemma"
    mixer_classes: ClassVar[tuple[str, ...]] = ("RecurrentGemmaRecurrentBlock",)
    operands: tuple[str, ...] = ("v", "log_decay", "write")
    log_decay_axes: tuple[str, ...] = ("batch", "time", "head", "key")

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self._activation = "linear"  # of the convolution; `act_fn` is the gate's

    @property
    def n_heads(self) -> int:
        """Channels of the recurrence: each has its own decay (the gates' blocks share none)."""
        return self.parameter("rg_lru.recurrent_param").shape[0]

    @property
    def d_value(self) -> int:
        """A channel carries one value."""
        return 1

    def forward(  # type: ignore[override]  # the block calls it in its own way
        self,
        input_states: Float[Tensor, "batch time model"],
        position_ids: Int[Tensor, "_ time"],
        attention_mask: Tensor | None = None,
        use_cache: bool = True,
        **ignored: Any,
    ) -> tuple[Float[Tensor, "batch time model"], None]:
        """Stand in for the block's forward; `attention_mask` is for attention layers and unused, as in transformers."""
        block: Any = self.module
        positions = position_ids.expand(len(input_states), -1)
        memory: Memory = ModuleMemory(block, positions[:, 0] == 0)
        if not use_cache:
            block.conv1d_state = block.rg_lru.recurrent_states = None
            memory = NoMemory()
        return self.mix(input_states, memory, positions=positions), None

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "batch time"] | None = None,
    ) -> Inlet:
        assert positions is not None  # `forward` passes them
        conv = self.short_convolution(self.submodule("linear_x")(hidden), None, memory, "conv_1d")
        reset = (positions == 0)[..., None]
        log_decay = -DECAY_POWER * self._gate("recurrent_gate", conv.active)
        log_decay = log_decay * F.softplus(self.parameter("rg_lru.recurrent_param").to(log_decay.dtype))
        write = _root(1 - torch.exp(2 * log_decay)).masked_fill(reset, 1.0)
        log_decay = log_decay.masked_fill(reset, -torch.inf)

        source = mixing.fixed(self._gate("input_gate", conv.active))
        conv = conv.scaled(source)
        values = conv.active[..., None]
        one = torch.ones_like(values[:, :, :1])
        gate: Tensor = getattr(self.module, "act_fn")(self.submodule("linear_y")(hidden))  # noqa: B009 - not a Tensor
        return Inlet(
            DiagonalDecay(one, one, values, log_decay[..., None], write=write),
            gate.to(values.dtype)[..., None],
            conv.path(slice(None), self.n_heads),
        )

    def _gate(self, name: str, x: Float[Tensor, "batch time channels"]) -> Float[Tensor, "batch time channels"]:
        """``sigmoid(x W + b)`` with a block-diagonal W."""
        weight, bias = self.parameter(f"rg_lru.{name}_weight"), self.parameter(f"rg_lru.{name}_bias")
        blocks = x.to(weight.dtype).unflatten(-1, bias.shape)
        return torch.sigmoid((torch.einsum("btni,nij->btnj", blocks, weight) + bias).flatten(2).to(x.dtype))

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("linear_out")(flat)
        return out

    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch heads"]:
        return state[..., 0, 0]

    def from_cache(self, state: Float[Tensor, "batch heads"]) -> Float[Tensor, "batch heads key value"]:
        return state[..., None, None]


def _root(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The square root of numbers from 0 on, its slope held at `STEEPEST_ROOT` where it would be steeper."""
    flattest = 1 / (4 * STEEPEST_ROOT**2)
    steep = x < flattest
    line = x.detach().sqrt() + STEEPEST_ROOT * (x - x.detach())
    return torch.where(steep, line, x.masked_fill(steep, 1.0).sqrt())
