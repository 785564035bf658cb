"""RWKV-4 of transformers (Peng et al. 2023, arXiv:2305.13048): a decaying softmax over the past, channel by channel.

The mathematics are `workbench.zoo.rwkv4`'s. Transformers keeps five tensors ``[batch, channels, layers]`` for the whole
model: the last inputs of channel mixing and of time mixing, the numerator (the state), the denominator (the normaliser)
and the running maximum. Blocks hand the list through; the mixer writes into it and returns it.

What transformers does differently from other families, and stays as it is:

* It ignores attention masks: left padding counts as tokens.
* In evaluation, ``rescale_every`` halves the residual stream after every so many blocks, and the output matrices of
  the blocks after it; the first forward pass rewrites those matrices in place.
* Block 0 normalises its input first, so its output is not a sum of that input and what its parts wrote.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import mixing
from workbench.errors import UnsupportedFamilyError
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.memory import Memory, NoMemory
from workbench.mixing import Inlet
from workbench.zoo.rwkv4 import weigh

PLACES = {"shift": 1, "state": 2, "normaliser": 3, "maximum": 4}


class StateList(Memory):
    """One layer's part of the five tensors that RWKV-4 of transformers hands from block to block."""

    def __init__(self, tensors: list[Tensor], layer: int) -> None:
        self._tensors = tensors
        self._layer = layer

    def get(self, name: str) -> Tensor:
        # A copy: what is written in place later must not change what a gradient needs.
        kept = self._tensors[PLACES[name]][:, :, self._layer].clone()
        return kept[:, None] if name == "shift" else kept

    def set(self, name: str, value: Tensor) -> None:
        place = PLACES[name]
        kept = self._tensors[place]
        # Transformers makes the states float32, in a float64 model, too.
        self._tensors[place] = kept = kept.to(torch.promote_types(kept.dtype, value.dtype))
        kept[:, :, self._layer] = value[:, 0] if name == "shift" else value


@register
class RwkvAdapter(RecurrentAdapter):
    """``RwkvSelfAttention``: every channel is a head with one key and one value; no queries."""

    family = "rwkv"
    mixer_classes = ("RwkvSelfAttention",)
    operands = ("v", "log_decay", "write", "read", "diagonal")

    @property
    def n_heads(self) -> int:
        """Channels of the time mixing."""
        return self.parameter("time_decay").shape[0]

    @property
    def d_value(self) -> int:
        """One."""
        return 1

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        cache_params: Any = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        state: list[Tensor] | None = None,
        **ignored: Any,
    ) -> tuple[Float[Tensor, "batch time model"], list[Tensor] | None]:
        """Stand in for the module's own forward.

        Raises:
            UnsupportedFamilyError: several sequences go on by one token, which transformers' channel mixing confuses;
                or the time mixing is wider than the model, and a state is handed over, which has no room for it.
        """
        if state is not None and hidden_states.shape[1] == 1 and hidden_states.shape[0] > 1:
            raise UnsupportedFamilyError(
                "RWKV-4 of transformers cannot go on by one token in a batch of several sequences (its feed-forward "
                "layer takes the sequences for time steps): decode one sequence at a time."
            )
        room = self.n_heads if state is None else state[PLACES["state"]].shape[1]
        if room != self.n_heads:
            raise UnsupportedFamilyError(
                f"RWKV-4 of transformers keeps a state of {room} channels (hidden_size), and attention_hidden_size is "
                f"{self.n_heads}: run it with use_cache=False."
            )
        memory = NoMemory() if state is None else StateList(state, int(getattr(self.module, "layer_id", self.layer)))
        return self.mix(hidden_states, memory), state

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        previous = mixing.shifted(hidden, memory)
        wide = torch.promote_types(hidden.dtype, torch.float32)

        def projected(name: str) -> Tensor:
            share = self.parameter(f"time_mix_{name}")
            out: Tensor = self.submodule(name)(share * hidden + (1 - share) * previous)
            return out.to(wide)

        maximum, normaliser = memory.get("maximum"), memory.get("normaliser")
        weights = weigh(
            projected("key"),
            projected("value"),
            -self.parameter("time_decay").to(wide).exp(),
            self.parameter("time_first"),
            start=None if maximum is None or normaliser is None else (maximum, normaliser),
        )
        memory.set("maximum", weights.maximum)
        memory.set("normaliser", weights.normaliser)
        return Inlet(weights.form, gate=torch.sigmoid(projected("receptance"))[..., None])

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule("output")(flat)
        return out

    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch heads"]:
        return state[..., 0, 0]

    def from_cache(self, state: Float[Tensor, "batch heads"]) -> Float[Tensor, "batch heads key value"]:
        return state[..., None, None]
