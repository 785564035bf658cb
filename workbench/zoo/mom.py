"""Mixture of memories (MoM; Du et al. 2025, arXiv:2502.13685): tokens are routed to a few of several states."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import mixing
from workbench.errors import InputError
from workbench.forms import Delta, ScalarDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.deltanet import unit
from workbench.zoo.mamba import inverse_softplus_of_log_uniform
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

LINEAR, GATED_DELTA = "linear", "gated_delta"


@register("mom")
class MoM(Mixer):
    """Every memory is a state of its own; a token writes to and reads from those that its router picks.

        g_t = top_k(softmax(router(x_t))), made to add up to 1
        M^m_t = update(M^m_{t-1}, k^m_t, v^m_t) where g^m_t > 0, M^m_{t-1} elsewhere
        z_t = sum_m g^m_t M^m_t' q_t

    (section 3 of the paper). Keys and values are each memory's own, the query is common. A shared memory that
    takes every token, with weight 1, is one more. A norm a head over the sum and a SiLU gate follow.
    The authors' code also runs a short convolution over each memory's own tokens, which this mixer leaves out.

    The matrix of a sum over memories with values of their own is one a memory: a head of this mixer is a head of one
    memory, memories outermost, and their outputs are added before the output projection. `write` is 0 and the decay 1
    where a memory is not picked, so it stays as it is, and ``hook_read`` is g.

    Options: ``n_heads`` (2); ``memories`` (4), to which tokens are routed; ``top_k`` (2); ``shared`` (True);
    ``update``, ``"gated_delta"`` (arXiv:2412.06464, the paper's choice: keys of length one, decays and strengths each
    memory's own) or ``"linear"`` (``M + k v'``); ``expand_k`` and ``expand_v`` (1.0), the widths over d_model.

    Raises:
        InputError: an option is unknown or out of range, or the heads do not divide a width.
    """

    family = "mom"
    operands: ClassVar[tuple[str, ...]] = ("q", "k", "v", "log_decay", "write", "read")
    defaults: ClassVar[dict[str, Any]] = {
        "n_heads": 2,
        "memories": 4,
        "top_k": 2,
        "shared": True,
        "update": GATED_DELTA,
        "expand_k": 1.0,
        "expand_v": 1.0,
    }

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.options = options = {**self.defaults, **config.mixer_options}
        unknown = sorted(set(options) - set(self.defaults))
        if unknown:
            raise InputError(f"mom has no option {unknown[0]!r}; it has {', '.join(sorted(self.defaults))}.")
        if options["update"] not in (LINEAR, GATED_DELTA):
            raise InputError(f"The update {options['update']!r} is neither {LINEAR!r} nor {GATED_DELTA!r}.")
        if not 1 <= options["top_k"] <= options["memories"]:
            raise InputError(f"top_k is {options['top_k']}; it must be 1 to {options['memories']}, the memories.")
        self.heads = options["n_heads"]
        keys, values = (int(config.d_model * options[name]) for name in ("expand_k", "expand_v"))
        if keys % self.heads or values % self.heads:
            raise InputError(f"{self.heads} heads do not divide {keys} key and {values} value channels.")
        self.d_key, self.d_value = keys // self.heads, values // self.heads
        self.memories = options["memories"] + bool(options["shared"])
        self.n_heads = self.memories * self.heads
        self.delta = options["update"] == GATED_DELTA
        if not self.delta:
            self.operands = ("q", "k", "v", "write", "read")  # type: ignore[misc]  # nothing decays
        self.eps = config.norm_eps
        self.router = nn.Linear(config.d_model, options["memories"], bias=False)
        self.q_proj = nn.Linear(config.d_model, keys, bias=False)
        self.k_proj = nn.Linear(config.d_model, self.memories * keys, bias=False)
        self.v_proj = nn.Linear(config.d_model, self.memories * values, bias=False)
        if self.delta:
            self.a_proj = nn.Linear(config.d_model, self.n_heads, bias=False)
            self.b_proj = nn.Linear(config.d_model, self.n_heads, bias=False)
            self.A_log = nn.Parameter(torch.empty(self.n_heads))
            self.dt_bias = nn.Parameter(torch.empty(self.n_heads))
        self.g_proj = nn.Linear(config.d_model, values, bias=False)
        self.o_norm = nn.Parameter(torch.ones(self.d_value))
        self.o_proj = nn.Linear(values, config.d_model, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Decay rates uniform in 0..16 and time steps log-uniform in 0.001..0.1, as in Gated DeltaNet."""
        if self.delta:
            self.A_log.copy_(torch.empty(self.n_heads).uniform_(1e-3, 16).log())
            self.dt_bias.copy_(inverse_softplus_of_log_uniform(self.n_heads, 1e-3, 0.1))

    def routed(self, hidden: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time memories"]:
        """The weight of each memory for each token: 0 where it is not picked, 1 for the shared one."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        scores = self.router(hidden).to(wide).softmax(-1)
        best = scores.topk(self.options["top_k"], dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, best.indices, best.values / best.values.sum(-1, keepdim=True))
        return F.pad(weights, (0, 1), value=1.0) if self.options["shared"] else weights

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        weights = self.routed(hidden).repeat_interleave(self.heads, dim=-1)
        picked = (weights > 0).to(wide)
        if mask is not None:
            picked = picked * mask
        q = self.q_proj(hidden).to(wide).unflatten(-1, (self.heads, -1)).repeat(1, 1, self.memories, 1)
        k, v = (part(hidden).to(wide).unflatten(-1, (self.n_heads, -1)) for part in (self.k_proj, self.v_proj))
        gate = F.silu(self.g_proj(hidden).to(wide)).unflatten(-1, (self.heads, -1)).repeat(1, 1, self.memories, 1)
        if mask is not None:
            v = v * mask[..., None]
        with torch.autocast(hidden.device.type, enabled=False):  # products of many decays are not for bfloat16
            return Inlet(self._form(hidden, q, k, v, picked, weights), gate)

    def _form(
        self,
        hidden: Float[Tensor, "batch time model"],
        q: Float[Tensor, "batch time heads key"],
        k: Float[Tensor, "batch time heads key"],
        v: Values,
        picked: Float[Tensor, "batch time heads"],
        weights: Float[Tensor, "batch time heads"],
    ) -> Delta | ScalarDecay:
        scale = self.d_key**-0.5
        if not self.delta:
            return ScalarDecay(q * scale, k, v, torch.zeros_like(picked), write=picked, read=weights)
        step = F.softplus(self.a_proj(hidden).to(v.dtype) + self.dt_bias.to(v.dtype))
        log_decay = -self.A_log.to(v.dtype).exp() * step * picked
        write = self.b_proj(hidden).to(v.dtype).sigmoid() * picked
        return Delta(unit(q) * scale, unit(k), v, log_decay[..., None], write=write, read=weights)

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        together = z.unflatten(2, (self.memories, -1)).sum(2)
        scale = mixing.inverse_rms(together, self.eps) * self.o_norm.to(z.dtype)
        return Outlet(scale=scale.repeat(1, 1, self.memories, 1))

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        """Add what the memories gave, and apply the output projection."""
        out: Tensor = self.o_proj(flat.unflatten(-1, (self.memories, -1)).sum(-2))
        return out
