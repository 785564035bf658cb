"""mLSTM, the matrix memory of xLSTM (Beck et al. 2024, arXiv:2405.04517; Beck et al. 2025, arXiv:2503.13427)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import kernels, mixing
from workbench.forms import ScalarDecay
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

GATE_CAP = 15.0
STABILISER_EPS = 1e-6


def soft_capped(gate: Float[Tensor, "*shape"], cap: float = GATE_CAP) -> Float[Tensor, "*shape"]:
    """``cap tanh(gate / cap)``: a gate's pre-activation kept between ``-cap`` and ``cap``."""
    return cap * torch.tanh(gate / cap)


def matrix_memory(
    q: Float[Tensor, "batch time heads key"],
    k: Float[Tensor, "batch time heads key"],
    v: Values,
    input_gate: Float[Tensor, "batch time heads"],
    forget_gate: Float[Tensor, "batch time heads"],
    mask: Float[Tensor, "batch time 1"] | None,
    memory: Memory,
    eps: float = STABILISER_EPS,
) -> ScalarDecay:
    """The mLSTM cell (arXiv:2405.04517, equations 19 to 27) as a scalar decay with a normaliser.

        C_t = f_t C_{t-1} + i_t k_t v_t'     n_t = f_t n_{t-1} + i_t k_t     h_t = C_t' q_t / max(|n_t' q_t|, 1)

    with ``f = sigmoid(forget_gate)``, ``i = exp(input_gate)``; both gates arrive capped, `q` arrives scaled. State and
    normaliser are kept divided by ``exp(m_t)``, ``m`` their running maximum; ``n' q`` is what the same recurrence reads
    when every value is 1, and ``read = 1 / (max(|n' q|, exp(-m)) + eps)``. `memory` carries ``normaliser``
    ``[B,H,K,1]`` and ``maximum`` ``[B,H]`` beside the state.
    """
    log_decay = F.logsigmoid(forget_gate)
    if mask is not None:
        # Below every gate that the cap lets through, so that the maximum of a padded row forgets its pads.
        input_gate = torch.where(mask > 0, input_gate, -2 * GATE_CAP)
        log_decay, v = log_decay * mask, v * mask[..., None]
    log_decay, write, maximum = mixing.stabilised(log_decay, input_gate, memory.get("maximum"))
    if mask is not None:
        write = write * mask
    form = ScalarDecay(q=q, k=k, v=v, log_decay=log_decay, write=write)
    counted, normaliser = kernels.forward(replace(form, v=torch.ones_like(v[..., :1])), memory.get("normaliser"))
    assert normaliser is not None  # only softmax has no state
    memory.set("normaliser", normaliser)
    memory.set("maximum", maximum[:, -1])
    size = torch.maximum(counted[..., 0].abs(), (-maximum).exp())
    return replace(form, read=1 / (size + eps))


@register("mlstm")
class MLSTM(Mixer):
    """Projections to q, k, v and gates; the matrix memory; a layer norm a head; the output gate; ``o_proj``.

    As in xLSTM-7B the query is scaled by ``key^-1/2`` and the gates are capped at 15; as in the blocks of the first
    paper (figure 11) a short convolution and SiLU come before queries and keys, which xLSTM-7B leaves out.
    ``hook_read`` is one over the normaliser, which an edit of keys, decays or writes leaves as it was.

    Options: ``n_heads`` (4), ``qk_dim`` and ``v_dim`` (in all heads; ``d_model``), ``conv_kernel`` (4; 0 for none),
    ``input_bias`` and ``forget_bias`` (where the gates' biases start; 0 and ``[3, 6]`` spread over the heads),
    ``initialisation`` (``"reference"`` or ``"mimetic"``, see `initialise`).
    """

    family = "mlstm"
    operands = ("q", "k", "v", "log_decay", "write", "read")

    def __init__(self, config: ZooConfig, layer: int):
        super().__init__()
        options = config.mixer_options
        self.options = options
        self.n_heads = options.get("n_heads", 4)
        qk, values = options.get("qk_dim", config.d_model), options.get("v_dim", config.d_model)
        self.d_value = values // self.n_heads
        self.eps = config.norm_eps
        taps = options.get("conv_kernel", 4)
        self.q_proj = nn.Linear(config.d_model, qk, bias=False)
        self.k_proj = nn.Linear(config.d_model, qk, bias=False)
        self.v_proj = nn.Linear(config.d_model, values, bias=False)
        self.g_proj = nn.Linear(config.d_model, values, bias=False)
        self.i_proj = nn.Linear(config.d_model, self.n_heads)
        self.f_proj = nn.Linear(config.d_model, self.n_heads)
        self.conv = nn.Conv1d(config.d_model, config.d_model, taps, groups=config.d_model) if taps else None
        self.norm = nn.Parameter(torch.ones(self.n_heads, self.d_value))
        self.o_proj = nn.Linear(values, config.d_model, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Gates that start open and remember long; a convolution near the identity.

        With ``"mimetic"``, in the spirit of Trockman et al. 2024 (arXiv:2410.11135), a query starts out finding the
        keys whose *predecessor* it resembles: the convolution adds the predecessor to every other channel and subtracts
        it from the rest, and the keys' projection is the queries' with the sign of those channels turned. In the
        products of queries and keys the terms of like with like then cancel, and token with predecessor stays.
        """
        low, high = self.options.get("forget_bias", (3.0, 6.0))
        self.f_proj.bias.copy_(torch.linspace(low, high, self.n_heads))
        self.i_proj.bias.fill_(self.options.get("input_bias", 0.0))
        nn.init.zeros_(self.f_proj.weight)
        scheme = self.options.get("initialisation", "reference")
        if scheme not in ("reference", "mimetic"):
            raise ValueError(f"initialisation {scheme!r} is neither 'reference' nor 'mimetic'")
        if self.conv is None:
            return
        assert self.conv.bias is not None
        nn.init.normal_(self.conv.weight, std=0.1)
        nn.init.zeros_(self.conv.bias)
        self.conv.weight[:, 0, -1] += 1.0
        if scheme == "mimetic" and self.conv.weight.shape[-1] > 1:
            sign = torch.ones(self.conv.weight.shape[0])
            sign[::2] = -1.0
            self.conv.weight[:, 0, -2] += sign
            self.k_proj.weight.copy_(self.q_proj.weight * sign)

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        mixed = hidden if mask is None else hidden * mask
        if self.conv is not None:
            weight, bias = self.conv.weight[:, 0], self.conv.bias
            mixed = mixing.short_convolution(mixed, weight, bias, "silu", mask, memory).active.to(hidden.dtype)
        q, k, v, gate = (
            projection(x).to(wide).unflatten(-1, (self.n_heads, -1))
            for projection, x in (
                (self.q_proj, mixed),
                (self.k_proj, mixed),
                (self.v_proj, hidden),
                (self.g_proj, hidden),
            )
        )
        input_gate, forget_gate = (soft_capped(gate(hidden).to(wide)) for gate in (self.i_proj, self.f_proj))
        with torch.autocast(hidden.device.type, enabled=False):  # products of many decays are not for bfloat16
            form = matrix_memory(q * q.shape[-1] ** -0.5, k, v, input_gate, forget_gate, mask, memory)
        return Inlet(form, gate=torch.sigmoid(gate))

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        return Outlet(scale=self.norm.to(z.dtype) * mixing.inverse_deviation(z, self.eps), centred=True)
