"""S4 (Gu et al. 2021, arXiv:2111.00396) and S4D, its diagonal variant (Gu et al. 2022, arXiv:2206.11893)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.forms import Toeplitz
from workbench.memory import Memory
from workbench.mixing import Inlet, Outlet, Values
from workbench.zoo.config import ZooConfig
from workbench.zoo.mixer import Mixer
from workbench.zoo.registry import register

LOW_RANK, DIAGONAL = "s4", "s4d"


@register("s4")
class S4(Mixer):
    """A linear state-space system a channel, seen as the convolution with its impulse response.

        x' = A x + B u,  y = Re(C x), in steps of dt:  z_t = sum_s kernel[t - s] u_s,  kernel[l] = Re(C A_^l B_)

    ``"s4"`` has ``A = diag(L) - P P*`` (started from HiPPO-LegS; arXiv:2111.00396, theorem 1) and the bilinear
    discretisation (equation 3); ``"s4d"`` has ``A = diag(L)`` (started as S4D-Lin) held constant over a step
    (arXiv:2206.11893). Eigenvalues come in conjugate pairs, of which one is stored. What is read is
    ``gelu(z + D u)``: the slope of the GELU is taken as a gate, held fixed for implicit attention.

    The matrix does not depend on the input. The state is the convolution's shift register, the last ``lags - 1``
    inputs: what lies ``lags`` steps back or more is not seen.

    Options: ``kind``, ``"s4"`` or ``"s4d"``; ``state_size`` (64, even), ``lags`` (the context), ``dt_min`` (0.001) and
    ``dt_max`` (0.1), between which the steps start.

    Raises:
        InputError: an option is unknown or out of range.
    """

    family = "s4"
    operands: ClassVar[tuple[str, ...]] = ("v",)
    gated = False
    d_value = 1
    defaults: ClassVar[dict[str, Any]] = {
        "kind": LOW_RANK,
        "state_size": 64,
        "lags": None,
        "dt_min": 1e-3,
        "dt_max": 0.1,
    }

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.options = options = {**self.defaults, **config.mixer_options}
        unknown = sorted(set(options) - set(self.defaults))
        if unknown:
            raise InputError(f"s4 has no option {unknown[0]!r}; it has {', '.join(sorted(self.defaults))}.")
        if options["kind"] not in (LOW_RANK, DIAGONAL):
            raise InputError(f"The kind {options['kind']!r} is neither {LOW_RANK!r} nor {DIAGONAL!r}.")
        if options["state_size"] < 2 or options["state_size"] % 2:
            raise InputError(f"state_size is {options['state_size']}; it must be even, since states come in pairs.")
        self.n_heads, pairs = config.d_model, options["state_size"] // 2
        self.lags = config.context if options["lags"] is None else options["lags"]
        self.log_dt = nn.Parameter(torch.empty(self.n_heads))
        self.log_real = nn.Parameter(torch.empty(self.n_heads, pairs))
        self.imaginary = nn.Parameter(torch.empty(self.n_heads, pairs))
        # Complex numbers as pairs of reals, which every optimiser and file format knows.
        self.C = nn.Parameter(torch.empty(self.n_heads, pairs, 2))
        if options["kind"] == LOW_RANK:
            self.B = nn.Parameter(torch.empty(self.n_heads, pairs, 2))
            self.P = nn.Parameter(torch.empty(self.n_heads, pairs, 2))
        self.D = nn.Parameter(torch.empty(self.n_heads))
        self.o_proj = nn.Linear(config.d_model, config.d_model)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Steps log-uniform; HiPPO-LegS, or S4D-Lin; C normal; D one."""
        low, high = math.log(self.options["dt_min"]), math.log(self.options["dt_max"])
        self.log_dt.copy_(torch.rand(self.n_heads) * (high - low) + low)
        pairs = self.log_real.shape[1]
        self.log_real.fill_(math.log(0.5))
        if self.options["kind"] == LOW_RANK:
            imaginary, p, b = hippo(2 * pairs)
            self.imaginary.copy_(imaginary.expand(self.n_heads, -1))
            self.P.copy_(torch.view_as_real(p).expand_as(self.P))
            self.B.copy_(torch.view_as_real(b).expand_as(self.B))
        else:
            self.imaginary.copy_((math.pi * torch.arange(pairs)).expand(self.n_heads, -1))
        nn.init.normal_(self.C, std=0.5**0.5)
        nn.init.ones_(self.D)
        nn.init.zeros_(self.o_proj.bias)

    def kernel(self) -> Float[Tensor, "channels lags"]:
        """The impulse response of every channel, in float64: powers of a matrix lose digits."""
        dt = self.log_dt.double().exp()
        poles = torch.complex(-self.log_real.double().exp(), self.imaginary.double())
        c = torch.view_as_complex(self.C.double())
        if self.options["kind"] == DIAGONAL:
            steps = poles * dt[:, None]
            powers = (steps[..., None] * torch.arange(self.lags, device=dt.device)).exp()
            weight = c * (steps.exp() - 1) / poles
            return 2 * torch.einsum("hn,hnl->hl", weight, powers).real
        p, b = (torch.view_as_complex(part.double()) for part in (self.P, self.B))
        poles, p, b, c = (torch.cat([part, part.conj()], dim=-1) for part in (poles, p, b, c))
        a = torch.diag_embed(poles) - p[:, :, None] * p[:, None, :].conj()
        one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        half = a * (dt / 2)[:, None, None]
        both = torch.cat([one + half, (b * dt[:, None])[..., None]], dim=-1)
        stepped = torch.linalg.solve(one - half, both)
        return torch.einsum("hn,hnl->hl", c, krylov(stepped[..., :-1], stepped[..., -1], self.lags)).real

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Int[Tensor, "_ time"] | None = None,
    ) -> Inlet:
        values = hidden if mask is None else hidden * mask
        values = values.to(torch.promote_types(hidden.dtype, torch.float32))[..., None]
        with torch.autocast(hidden.device.type, enabled=False):
            return Inlet(Toeplitz(values, self.kernel().to(values.dtype)))

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        skip = self.D.to(z.dtype)[None, None, :, None]
        # gelu(y) = y slope(y), slope the normal distribution function.
        slope = torch.special.ndtr(z + skip * inlet.form.v)
        return Outlet(scale=slope, skip=slope * skip)


def krylov(
    a: Complex[Tensor, "channels state state"], b: Complex[Tensor, "channels state"], count: int
) -> Complex[Tensor, "channels state count"]:
    """``b, A b, .. A^(count - 1) b``, twice as many with each product."""
    columns, power = b[..., None], a
    while columns.shape[-1] < count:
        columns = torch.cat([columns, power @ columns], dim=-1)
        power = power @ power
    return columns[..., :count]


def hippo(
    size: int,
) -> tuple[Float[Tensor, " pairs"], Complex[Tensor, " pairs"], Complex[Tensor, " pairs"]]:
    """HiPPO-LegS in the basis in which it is normal plus low rank: imaginary parts of the poles, P and B.

    ``A + P P'`` is -1/2 plus a skew-symmetric matrix (arXiv:2111.00396, appendix C.1), so all poles have real part
    -1/2. Of each conjugate pair the one with a positive imaginary part is given.
    """
    n = torch.arange(size, dtype=torch.float64)
    root = (2 * n + 1).sqrt()
    a = -torch.tril(root[:, None] * root, -1) - torch.diag(n + 1)
    p = (n + 0.5).sqrt()
    skew = a + p[:, None] * p + 0.5 * torch.eye(size, dtype=torch.float64)
    imaginary, basis = torch.linalg.eigh(-1j * skew)
    kept = imaginary > 0
    to_basis = basis[:, kept].conj().T
    return imaginary[kept], to_basis @ p.to(to_basis.dtype), to_basis @ root.to(to_basis.dtype)
