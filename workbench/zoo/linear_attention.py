"""What GLA, RetNet, HGRN2 and the delta rules share: projections, short convolutions, a norm a head, an output gate."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.errors import InputError
from workbench.forms import RecurrentForm
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, ValuePath, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer

REFERENCE, MIMETIC = "reference", "mimetic"


class LinearAttention(Mixer):
    """Queries, keys and values of the input, a recurrent form of them, then ``o_proj(act(gate) norm(z))``.

    The norm is a root-mean-square norm over the channels of each head, its weight shared by the heads.

    Options of every subclass: ``n_heads``; ``expand_k`` and ``expand_v``, the widths of keys and values over d_model;
    ``short_conv``, whether a causal depthwise convolution (and SiLU) follows each of the three projections;
    ``conv_size``, its taps; ``conv_bias``; ``output_gate``, whether there is one; ``norm_weight``, whether the norm
    has a weight; ``norm_eps`` (None: the config's); ``initialisation``, ``"reference"`` or ``"mimetic"`` (see
    `initialise`).

    Raises:
        InputError: an option is unknown, or the heads do not divide a width.
    """

    projections: ClassVar[tuple[str, str, str]] = ("q", "k", "v")
    conv_activation: ClassVar[str] = "silu"
    active: ClassVar[bool] = False  # whether SiLU follows the projections where no convolution does
    gate_activation: ClassVar[str] = "silu"
    defaults: ClassVar[dict[str, Any]] = {
        "n_heads": 4,
        "expand_k": 1.0,
        "expand_v": 1.0,
        "short_conv": False,
        "conv_size": 4,
        "conv_bias": False,
        "output_gate": True,
        "norm_weight": True,
        "norm_eps": None,
        "initialisation": REFERENCE,
    }

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.options = {**self.defaults, **config.mixer_options}
        unknown = sorted(set(self.options) - set(self.defaults))
        if unknown:
            raise InputError(f"{self.family} has no option {unknown[0]!r}; it has {', '.join(sorted(self.defaults))}.")
        if self.options["initialisation"] not in (REFERENCE, MIMETIC):
            raise InputError(
                f"The initialisation {self.options['initialisation']!r} is neither {REFERENCE!r} nor {MIMETIC!r}."
            )
        self.d_model = config.d_model
        self.n_heads = self.options["n_heads"]
        keys, values = (int(config.d_model * self.options[name]) for name in ("expand_k", "expand_v"))
        if keys % self.n_heads or values % self.n_heads:
            raise InputError(f"{self.n_heads} heads do not divide {keys} key and {values} value channels.")
        self.d_key, self.d_value = keys // self.n_heads, values // self.n_heads
        for name, width in zip(self.projections, (keys, keys, values), strict=True):
            self.add_module(f"{name}_proj", nn.Linear(config.d_model, width, bias=False))
            if self.options["short_conv"]:
                taps, bias = self.options["conv_size"], self.options["conv_bias"]
                self.add_module(f"{name}_conv1d", nn.Conv1d(width, width, taps, groups=width, bias=bias))
        self.gated = self.options["output_gate"]
        if self.gated:
            self.g_proj: nn.Module = self.make_gate(config.d_model, values)
        self.norm_eps = config.norm_eps if self.options["norm_eps"] is None else self.options["norm_eps"]
        if self.options["norm_weight"]:
            self.o_norm = nn.Parameter(torch.ones(self.d_value))
        self.o_proj = nn.Linear(values, config.d_model, bias=False)

    def make_gate(self, d_model: int, values: int) -> nn.Module:
        """The projection of the output gate."""
        return nn.Linear(d_model, values, bias=False)

    @torch.no_grad()
    def initialise(self) -> None:
        """Where training starts, once the projections have their normal weights.

        ``"reference"`` leaves the projections as they are and draws the convolutions as torch does. ``"mimetic"``, in
        the spirit of Trockman et al. 2024 (arXiv:2410.11135), starts from what trained models end up with: queries read
        along the directions in which keys write (equal projections), convolutions near the identity, on the keys near
        the shift by one token (what a token is found by is the token before it), and a state that forgets slowly.
        """
        query, key, _ = (self.get_submodule(f"{name}_proj").get_parameter("weight") for name in self.projections)
        mimetic = self.options["initialisation"] == MIMETIC
        if mimetic:
            query.copy_(key)
        if self.options["short_conv"]:
            for name, back in zip(self.projections, (0, 1, 0), strict=True):
                conv = self.get_submodule(f"{name}_conv1d")
                assert isinstance(conv, nn.Conv1d)
                conv.reset_parameters()
                if mimetic:
                    conv.weight.mul_(0.3)
                    conv.weight[:, 0, -1 - min(back, conv.weight.shape[-1] - 1)] += 1.0
        if mimetic:
            self.forget_slowly()

    def forget_slowly(self) -> None:
        """Start with a slow decay, for the mimetic initialisation; nothing where there is no decay to choose."""

    @abstractmethod
    def form(
        self,
        hidden: Float[Tensor, "batch time model"],
        q: Float[Tensor, "batch time heads key"],
        k: Float[Tensor, "batch time heads key"],
        v: Values,
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None,
    ) -> RecurrentForm:
        """The canonical form of what the projections (and convolutions) gave, at least float32.

        Pads come in as zeros of `hidden`, `q`, `k` and `v`; their decay is the subclass's to mask.
        """

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        hidden = hidden if mask is None else hidden * mask
        (q, _), (k, _), (v, path) = (self._projected(name, hidden, mask, memory) for name in self.projections)
        form = self.form(hidden, q, k, v, mask, memory, positions)
        return Inlet(form, gate=self.gate(hidden) if self.gated else None, path=path)

    def gate(self, hidden: Float[Tensor, "batch time model"]) -> Values:
        """The output gate after its non-linearity."""
        projected = self.heads(self.g_proj(hidden))
        return F.silu(projected) if self.gate_activation == "silu" else projected.sigmoid()

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        scale = mixing.inverse_rms(z, self.norm_eps)
        if self.options["norm_weight"]:
            scale = scale * self.o_norm.to(z.dtype)
        return Outlet(scale=scale)

    def heads(self, flat: Float[Tensor, "batch time channels"]) -> Float[Tensor, "batch time heads size"]:
        """Channels cut into heads, in float32 at least."""
        split: Tensor = flat.to(torch.promote_types(flat.dtype, torch.float32)).unflatten(-1, (self.n_heads, -1))
        return split

    def _projected(
        self,
        name: str,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
    ) -> tuple[Float[Tensor, "batch time heads size"], ValuePath | None]:
        flat = self.get_submodule(f"{name}_proj")(hidden)
        if not self.options["short_conv"]:
            inputs = self.heads(flat)
            if not self.active:
                return inputs, None
            slope = mixing.fixed(inputs.sigmoid())
            return inputs * slope, ValuePath(inputs, source=lambda: slope)
        conv = self.get_submodule(f"{name}_conv1d")
        weight, bias = conv.get_parameter("weight")[:, 0], conv._parameters["bias"]
        done = mixing.short_convolution(flat, weight, bias, self.conv_activation, mask, memory, f"{name}_conv")
        return self.heads(done.active), done.path(slice(None), self.n_heads)
