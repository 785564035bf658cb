"""Operands of the recurrences that are raced: random, with decays and norms as trained models have them.

Each class holds what the published kernels of its family take, and `form` is the same as one of ours. Layout is
``[batch, time, heads, width]`` throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing import Self

    import torch
    from torch import Tensor

    from workbench.forms import Delta, DiagonalDecay, ScalarDecay


class _Operands:
    """Tensors by name; `gates` are those that stay in float32 when the others are rounded."""

    gates: ClassVar[tuple[str, ...]] = ()

    def to(self, *where: Any) -> Self:
        """Every tensor on a device or in a dtype, as `torch.Tensor.to` takes them."""
        moved = {field.name: getattr(self, field.name).to(*where) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **moved)  # type: ignore[type-var]

    def rounded(self, dtype: torch.dtype) -> Self:
        """Every tensor but the gates in a narrower dtype."""
        names = [field.name for field in fields(self) if field.name not in self.gates]  # type: ignore[arg-type]
        return replace(self, **{name: getattr(self, name).to(dtype) for name in names})  # type: ignore[type-var]


@dataclass(frozen=True)
class SelectiveScan(_Operands):
    """Mamba-1: inputs and time steps ``[batch, time, channels]``, B and C ``[batch, time, state]``, A negative."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor

    def form(self) -> DiagonalDecay:
        """One head a channel."""
        from workbench.forms import DiagonalDecay

        return DiagonalDecay(
            q=self.C[:, :, None],
            k=self.B[:, :, None],
            v=self.x[..., None],
            log_decay=-self.dt[..., None],
            rate=-self.A,
            write=self.dt,
        )


@dataclass(frozen=True)
class StateSpaceDual(_Operands):
    """Mamba-2: inputs ``[batch, time, heads, value]``, time steps a head, B and C a group, A negative a head."""

    gates = ("dt", "A")

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor

    def form(self) -> ScalarDecay:
        """The same, with the decay of each step as its time step times A."""
        from workbench.forms import ScalarDecay

        return ScalarDecay(q=self.C, k=self.B, v=self.x, log_decay=self.dt * self.A, write=self.dt)


@dataclass(frozen=True)
class GatedLinear(_Operands):
    """GLA: a log decay a key dimension. Its kernels divide the queries by the root of their width."""

    gates = ("log_decay",)

    q: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor

    def form(self) -> DiagonalDecay:
        """With the queries scaled."""
        from workbench.forms import DiagonalDecay

        return DiagonalDecay(q=self.q * self.q.shape[-1] ** -0.5, k=self.k, v=self.v, log_decay=self.log_decay)


@dataclass(frozen=True)
class GatedDelta(_Operands):
    """Gated DeltaNet and KDA: keys and queries of length one, a beta a head, a log decay a head or a key dimension.

    Their kernels divide the queries by the root of their width.
    """

    gates = ("log_decay",)

    q: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor
    beta: Tensor

    def form(self) -> Delta:
        """With the queries scaled."""
        from workbench.forms import Delta

        q = self.q * self.q.shape[-1] ** -0.5
        log_decay = self.log_decay if self.log_decay.ndim == 4 else self.log_decay[..., None]
        return Delta(q=q, k=self.k, v=self.v, log_decay=log_decay, write=self.beta)


@dataclass(frozen=True)
class GeneralisedDelta(_Operands):
    """RWKV-7: ``S_t = (diag(w) + b a') S_{t-1} + k v'`` with ``log_decay = log w``, ``a = -kh``, ``b = kh * rate``."""

    gates = ("log_decay",)

    r: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor
    direction: Tensor
    rate: Tensor

    def form(self) -> Delta:
        """Ours decays first, so its probe is the direction over the decay."""
        from workbench.forms import Delta

        return Delta(
            q=self.r,
            k=self.k,
            v=self.v,
            log_decay=self.log_decay,
            probe=self.direction * self.log_decay.neg().exp(),
            erase=self.direction * self.rate,
        )


def selective_scan(time: int, channels: int = 1536, state: int = 16, batch: int = 1) -> SelectiveScan:
    """mamba-130m's shapes."""
    import torch
    from torch.nn import functional

    random = _normal()
    return SelectiveScan(
        x=random(batch, time, channels),
        dt=functional.softplus(random(batch, time, channels) - 4),
        A=-torch.arange(1.0, state + 1).repeat(channels, 1),
        B=random(batch, time, state),
        C=random(batch, time, state),
    )


def state_space_dual(time: int, heads: int = 24, value: int = 64, state: int = 128, batch: int = 1) -> StateSpaceDual:
    """mamba2-130m's shapes."""
    import torch
    from torch.nn import functional

    random = _normal()
    return StateSpaceDual(
        x=random(batch, time, heads, value),
        dt=functional.softplus(random(batch, time, heads) - 4),
        A=-torch.linspace(1, 16, heads),
        B=random(batch, time, 1, state),
        C=random(batch, time, 1, state),
    )


def gated_linear(time: int, heads: int = 4, key: int = 128, value: int = 256, batch: int = 1) -> GatedLinear:
    """The shapes of a GLA of width 1024; decays are sigmoids to the power of 1/16, as in the paper."""
    from torch.nn import functional

    random = _normal()
    return GatedLinear(
        q=random(batch, time, heads, key),
        k=random(batch, time, heads, key),
        v=random(batch, time, heads, value),
        log_decay=functional.logsigmoid(random(batch, time, heads, key)) / 16,
    )


def gated_delta(time: int, heads: int = 16, width: int = 128, batch: int = 1, per_channel: bool = False) -> GatedDelta:
    """Heads of width 128, as Qwen3-Next has them; with decays a key dimension, Kimi-Linear's KDA."""
    from torch.nn import functional

    random = _normal()
    decays = (batch, time, heads, width) if per_channel else (batch, time, heads)
    return GatedDelta(
        q=functional.normalize(random(batch, time, heads, width), dim=-1),
        k=functional.normalize(random(batch, time, heads, width), dim=-1),
        v=random(batch, time, heads, width),
        log_decay=-functional.softplus(random(*decays) - 3),
        beta=random(batch, time, heads).sigmoid(),
    )


def generalised_delta(time: int, heads: int = 12, width: int = 64, batch: int = 1) -> GeneralisedDelta:
    """The shapes of a RWKV-7 of width 768, decays between 0.545 and 1."""
    from torch.nn import functional

    random = _normal()
    return GeneralisedDelta(
        r=random(batch, time, heads, width),
        k=random(batch, time, heads, width) * width**-0.5,
        v=random(batch, time, heads, width),
        log_decay=-0.606531 * (random(batch, time, heads, width) - 2).sigmoid(),
        direction=functional.normalize(random(batch, time, heads, width), dim=-1),
        rate=random(batch, time, heads, width).sigmoid(),
    )


def _normal() -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)
