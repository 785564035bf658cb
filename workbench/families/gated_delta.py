"""Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464) in transformers: Qwen3-Next, Qwen3.5, OLMo-Hybrid.

Per head, with keys of length one, the writing strength b and one decay (equation 10 and section 3.4):

    S_t = D_t S_{t-1} + b_t k_t (v_t - (D_t S_{t-1})' k_t)'        z_t = S_t' q_t / sqrt(K)
    D_t = exp(-exp(A_log) softplus(step_t + dt_bias)) I

which is the delta form with its defaults. Queries, keys and values go through one short convolution; behind the
recurrence come a norm with one weight a channel of a head, and then the gate.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.errors import UnsupportedFamilyError
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import Delta
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values

UNIT_EPSILON = 1e-6  # below the squared length of a query or key; transformers has no setting for it
GATES: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "swish": F.silu, "sigmoid": torch.sigmoid}


@dataclass(frozen=True)
class Projected:
    """What the input projections wrote, before any non-linearity.

    Attributes:
        qkv: queries, keys and values, in the order of the convolution's channels.
        gate: the output gate.
        write: the writing strength.
        step: what the decay is computed from; one number a head, or one a key channel.
    """

    qkv: Float[Tensor, "batch time channels"]
    gate: Float[Tensor, "batch time values"]
    write: Float[Tensor, "batch time heads"]
    step: Float[Tensor, "batch time steps"]


class DeltaRuleAdapter(RecurrentAdapter):
    """What transformers' modules with a gated delta rule share; a family says what its projections are.

    Attributes:
        norm: name of the norm behind the recurrence.
        output: name of the output projection.
        gate_activation: the gate's activation where the norm does not say it.
    """

    norm: ClassVar[str] = "norm"
    output: ClassVar[str] = "out_proj"
    gate_activation: ClassVar[str] = "silu"

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        norm: Any = module.get_submodule(self.norm)
        self._epsilon = float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 1e-6)))  # fla's norms say eps
        gate = str(getattr(norm, "activation", self.gate_activation))
        if gate not in GATES:
            raise UnsupportedFamilyError(
                f"The norm of {type(module).__name__} has a gate with the activation {gate!r}; "
                f"{', '.join(GATES)} are known here."
            )
        self._gate = GATES[gate]

    @abstractmethod
    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Projected:
        """Apply the input projections to hidden states that are 0 at pads."""

    @property
    @abstractmethod
    def d_key(self) -> int:
        """Key channels a head."""

    @property
    def d_value(self) -> int:
        """Value channels a head."""
        return self.submodule(self.norm).get_parameter("weight").shape[0]

    def writing_strength(self, raw: Float[Tensor, "batch time heads"]) -> Float[Tensor, "batch time heads"]:
        """The delta rule's beta."""
        return raw.sigmoid()

    def log_decay(self, step: Float[Tensor, "batch time steps"]) -> Float[Tensor, "batch time heads key_or_one"]:
        """The logarithm of the decay, the same for all key channels of a head unless a family has it otherwise."""
        rate = self.parameter("A_log").to(step.dtype).exp()
        return (-rate * F.softplus(step + self.parameter("dt_bias").to(step.dtype)))[..., None]

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        made = self.projected(hidden if mask is None else hidden * mask)
        conv = self.short_convolution(made.qkv, mask, memory)
        active = conv.active
        keys = (active.shape[-1] - self.n_heads * self.d_value) // 2
        log_decay = self.log_decay(made.step.to(active.dtype))
        write = self.writing_strength(made.write.to(active.dtype))
        if mask is not None:
            log_decay, write = log_decay * mask[..., None], write * mask
        form = Delta(
            q=unit(active[..., :keys].unflatten(-1, (-1, self.d_key))) * self.d_key**-0.5,
            k=unit(active[..., keys : 2 * keys].unflatten(-1, (-1, self.d_key))),
            v=active[..., 2 * keys :].unflatten(-1, (self.n_heads, self.d_value)),
            log_decay=log_decay,
            write=write,
        )
        gate = self.heads(self._gate(made.gate.to(active.dtype)))
        return Inlet(form, gate, conv.path(slice(2 * keys, None), self.n_heads))

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        weight = self.submodule(self.norm).get_parameter("weight").to(z.dtype)
        return Outlet(scale=weight * mixing.inverse_rms(z, self._epsilon))

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        out: Tensor = self.submodule(self.output)(flat)
        return out


def unit(x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
    """Scaled to length one, but for `UNIT_EPSILON`; zeros stay zeros."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + UNIT_EPSILON)


class GatedDeltaNetAdapter(DeltaRuleAdapter):
    """What the three families share: the names of their sizes."""

    @property
    def n_heads(self) -> int:
        """Value heads: each has its own decay."""
        return self.parameter("A_log").shape[0]

    @property
    def d_key(self) -> int:
        """Key channels a head."""
        return int(self.module.head_k_dim)  # type: ignore[arg-type]


@register
class Qwen3NextAdapter(GatedDeltaNetAdapter):
    """Qwen3-Next: one projection for queries, keys, values and gate, laid out by key heads, and one for the rest."""

    family: str = "qwen3_next"
    mixer_classes: ClassVar[tuple[str, ...]] = ("Qwen3NextGatedDeltaNet",)

    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Projected:
        groups = int(self.module.num_k_heads)  # type: ignore[arg-type]
        both: Tensor = self.submodule("in_proj_qkvz")(hidden).unflatten(-1, (groups, -1))
        small: Tensor = self.submodule("in_proj_ba")(hidden).unflatten(-1, (groups, -1))
        keys, heads = 2 * self.d_key, self.n_heads // groups
        values = keys + heads * self.d_value
        parts = (both[..., : self.d_key], both[..., self.d_key : keys], both[..., keys:values])
        return Projected(
            qkv=torch.cat([part.flatten(2) for part in parts], dim=-1),
            gate=both[..., values:].flatten(2),
            write=small[..., :heads].flatten(2),
            step=small[..., heads:].flatten(2),
        )


@register
class Qwen35Adapter(GatedDeltaNetAdapter):
    """Qwen3.5, dense and with experts: a projection for each part."""

    family: str = "qwen3_5"
    mixer_classes: ClassVar[tuple[str, ...]] = ("Qwen3_5GatedDeltaNet", "Qwen3_5MoeGatedDeltaNet")

    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Projected:
        return Projected(*(self.submodule(f"in_proj_{part}")(hidden) for part in ("qkv", "z", "b", "a")))


@register
class OlmoHybridAdapter(GatedDeltaNetAdapter):
    """OLMo-Hybrid: queries, keys and values from projections of their own.

    With ``linear_allow_neg_eigval`` the writing strength reaches to 2, so that a transition may turn a direction round
    (Grazzi et al. 2024, arXiv:2411.12537).
    """

    family: str = "olmo_hybrid"
    mixer_classes: ClassVar[tuple[str, ...]] = ("OlmoHybridGatedDeltaNet",)
    norm: ClassVar[str] = "o_norm"
    output: ClassVar[str] = "o_proj"

    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Projected:
        qkv = torch.cat([self.submodule(f"{part}_proj")(hidden) for part in "qkv"], dim=-1)
        return Projected(qkv, *(self.submodule(f"{part}_proj")(hidden) for part in "gba"))

    def writing_strength(self, raw: Float[Tensor, "batch time heads"]) -> Float[Tensor, "batch time heads"]:
        return raw.sigmoid() * (2.0 if self.module.allow_neg_eigval else 1.0)

    def short_convolution(
        self,
        inputs: Float[Tensor, "batch time channels"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        conv: str = "conv1d",
    ) -> mixing.ShortConvolution:
        if hasattr(self.module, conv):
            return super().short_convolution(inputs, mask, memory, conv)
        weight = torch.cat([self.parameter(f"{part}_{conv}.weight")[:, 0] for part in "qkv"])  # transformers 5.9
        return mixing.short_convolution(inputs, weight, None, self._activation, mask, memory)

    def memory(self, cache_params: Any, cache: Any) -> Memory:
        if hasattr(cache_params, "conv_states_q"):
            return _SeparateConvolutions(cache_params, self.module)
        return super().memory(cache_params, cache)


class _SeparateConvolutions(Memory):
    """A layer of the cache that OLMo-Hybrid has in transformers 5.9: the last inputs of three convolutions, a state."""

    def __init__(self, cache: Any, module: Any) -> None:
        self._layer = int(module.layer_idx)
        self._state: list[Tensor | None] = cache.recurrent_states
        self._inputs: list[list[Tensor | None]] = [getattr(cache, f"conv_states_{part}") for part in "qkv"]
        self._sizes = [module.key_dim, module.key_dim, module.value_dim]
        self._past = int(module.conv_kernel_size) - 1

    def get(self, name: str) -> Tensor | None:
        if name == "state":
            return self._state[self._layer]
        parts = [part for kept in self._inputs if (part := kept[self._layer]) is not None]
        return torch.cat(parts, dim=1).transpose(1, 2) if parts else None

    def set(self, name: str, value: Tensor) -> None:
        if name == "state":
            self._state[self._layer] = value
            return
        columns = F.pad(value.transpose(1, 2), (self._past - value.shape[1], 0))
        for kept, part in zip(self._inputs, columns.split(self._sizes, dim=1), strict=True):
            kept[self._layer] = part
