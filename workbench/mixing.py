"""What every recurrent mixer is made of, in the order in which a token passes through it.

    inlet   = read_in(hidden)         projections, short convolution, non-linearities  -> the canonical form and a gate
    z       = A v                     the recurrence, by workbench.kernels
    outlet  = read_out(z)             norm scale, skip, offset
    outputs = gate (scale centre(z) + skip v + offset)
    out_proj(outputs)

A family says how its weights give an `Inlet` and an `Outlet`, and nothing else. The mixers of the zoo are written in
these terms, and the adapters put the modules of transformers into them; hooks, caches, padding, knock-outs and the
record behind implicit attention are written once, on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import UnsupportedFamilyError
from workbench.forms import MixerForm, RecurrentForm
from workbench.kernels.short_convolution import short_convolution as depthwise
from workbench.memory import Memory

Values = Float[Tensor, "batch time heads value"]
OnState = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class ValuePath:
    """How the values came from what the input projection wrote: ``v = source conv(inputs) + offset``.

    Attributes:
        inputs: the value path before the convolution.
        conv: causal depthwise taps, the last one multiplies the current token; None for no convolution.
        source: gives the factor on each value (activation slope, padding mask, input gate); None means 1.
        offset: gives what no token of this call carries (a convolution's bias, what a cache left in it, another
            layer's values); None for nothing. Both are called only when somebody records or cuts edges.
    """

    inputs: Values
    conv: Float[Tensor, "heads value taps"] | None = None
    source: Callable[[], Float[Tensor, "#batch #time #heads #value"]] | None = None
    offset: Callable[[], Values | None] | None = None


@dataclass(frozen=True)
class Inlet:
    """What a mixer made of its input.

    Attributes:
        form: the canonical form, at least float32.
        gate: the output gate after its non-linearity; None for no gate.
        path: where the values came from; None where the form's values are what the projection wrote.
        conditional: whether the gates were computed from the recurrence's own state (LSTM, GRU): the form is then
            exact given the gates, and says nothing about what the past did to them.
        extra: whatever `read_out` needs besides.
        stepwise: runs such a recurrence one step at a time from a state, with gates that see what ``on_state`` (the
            step, the state) makes of each state; given this inlet with the operands as hooks left them, and the steps
            at which ``on_state`` is called (None: at each). Returns the inlet with the gates there were, the outputs
            and the final state. None where gates do not see states.
    """

    form: RecurrentForm
    gate: Values | None = None
    path: ValuePath | None = None
    conditional: bool = False
    extra: Any = None
    stepwise: Callable[[Inlet, Tensor | None, OnState, list[int] | None], tuple[Inlet, Values, Tensor]] | None = None


@dataclass(frozen=True)
class Outlet:
    """What stands between the recurrence and the output projection, held fixed for implicit attention.

    Attributes:
        scale: factor on the core's output (a norm's weight over its root mean square or deviation); None means 1.
        skip: factor on the value of the same token (Mamba's D, RWKV-7's bonus); None for nothing.
        offset: constant (a norm's bias); None for nothing.
        centred: whether the norm subtracts the mean over each head's channels first.
    """

    scale: Float[Tensor, "#batch #time heads value"] | None = None
    skip: Float[Tensor, "#batch #time heads #value"] | None = None
    offset: Float[Tensor, "#batch #time heads value"] | None = None
    centred: bool = False


def outputs(z: Values, v: Values, gate: Values | None, outlet: Outlet) -> Values:
    """What the output projection reads: ``gate (scale centre(z) + skip v + offset)``."""
    y = z - z.mean(-1, keepdim=True) if outlet.centred else z
    if outlet.scale is not None:
        y = y * outlet.scale
    if outlet.skip is not None:
        y = torch.addcmul(y, outlet.skip, v)
    if outlet.offset is not None:
        y = y + outlet.offset
    if gate is None:
        return y
    # A tensor of our own that nobody has seen: a second one as large would cost more than the product.
    recorded = torch.is_grad_enabled() and (y.requires_grad or gate.requires_grad)
    return y * gate if recorded or y is z or y.dtype != gate.dtype else y.mul_(gate)


def mixer_form(inlet: Inlet, outlet: Outlet, z: Values, carried_z: Values | None, written: Values) -> MixerForm:
    """The record of one forward pass; `inlet` holds the form and the gate as they were used."""
    gate, path = inlet.gate, inlet.path

    def gated(factor: Tensor | None) -> Values | None:
        if factor is None:
            return None
        return (factor if gate is None else factor * gate).expand_as(written)

    return MixerForm(
        core=inlet.form,
        z=z,
        outputs=written,
        inputs=None if path is None else path.inputs.to(z.dtype),
        conv=None if path is None or path.conv is None else path.conv.to(z.dtype),
        source=None if path is None or path.source is None else path.source().expand_as(inlet.form.v),
        value_offset=None if path is None or path.offset is None else path.offset(),
        gate=gate if outlet.scale is None else gated(outlet.scale),
        skip=gated(outlet.skip),
        offset=gated(outlet.offset),
        centred=outlet.centred,
        carried_z=carried_z,
        conditional=inlet.conditional,
    )


# Linearised runs.

_linearised: ContextVar[bool] = ContextVar("workbench_linearised", default=False)


@contextmanager
def linearised() -> Iterator[None]:
    """Within this, gates, patterns and norm scales are constants to autograd: a mixer is the linear map of its values.

    The numbers stay the same; only gradients change (see `HookedModel.attribute`).
    """
    token = _linearised.set(True)
    try:
        yield
    finally:
        _linearised.reset(token)


def is_linearised() -> bool:
    """Whether a linearised run is under way."""
    return _linearised.get()


def fixed(x: Tensor) -> Tensor:
    """A factor of the value path that a linearised run holds fixed: a slope, a gate, a norm's scale."""
    return x.detach() if _linearised.get() else x


# Pieces that many families share.


def slope_of(activation: str, key: str = "activation") -> Callable[[Tensor], Tensor]:
    """The factor s(c) with ``act(c) = s(c) c``, the non-linearity that is held fixed for implicit attention.

    `key` is what the configuration calls it.

    Raises:
        UnsupportedFamilyError: the activation has no such factor here.
    """
    if activation in ("silu", "swish"):
        return torch.sigmoid
    if activation == "relu":
        return lambda c: (c > 0).to(c.dtype)
    if activation in ("linear", "identity"):
        return torch.ones_like
    raise UnsupportedFamilyError(
        f"The mixer's {key} {activation!r} has no exact linear form here; silu, relu and linear have one."
    )


@dataclass(frozen=True)
class ShortConvolution:
    """A short causal depthwise convolution and the activation after it, as one forward pass computed them.

    Attributes:
        inputs: what the convolution read.
        active: its output after the activation and the padding mask, at least float32.
        slope: gives the factor in ``active = slope * (convolution's output)``; computed when it is asked for.
        weight, bias: its parameters.
        carried: gives the part of its output that earlier calls put there; None where there is no past.
    """

    inputs: Float[Tensor, "batch time channels"]
    active: Float[Tensor, "batch time channels"]
    slope: Callable[[], Float[Tensor, "batch time channels"]]
    weight: Float[Tensor, "channels taps"]
    bias: Float[Tensor, " channels"] | None
    carried: Callable[[], Float[Tensor, "batch time channels"]] | None

    def path(self, channels: slice, heads: int) -> ValuePath:
        """The path of the values that some of the channels hold."""

        def cut(flat: Tensor) -> Tensor:
            split: Tensor = flat[..., channels].unflatten(-1, (heads, -1))
            return split

        def offset() -> Values | None:
            constant = None if self.bias is None else self.bias.to(self.active.dtype)
            if self.carried is not None:
                past = self.carried().to(self.active.dtype)
                constant = past if constant is None else constant + past
            return None if constant is None else cut(self.slope() * constant)

        taps = self.weight[channels].unflatten(0, (heads, -1))
        return ValuePath(cut(self.inputs), conv=taps, source=lambda: cut(self.slope()), offset=offset)

    def scaled(self, factor: Float[Tensor, "batch time #channels"]) -> ShortConvolution:
        """What it computed times a factor: a mask, an input gate."""
        return replace(self, active=self.active * factor, slope=lambda: self.slope() * factor)


def short_convolution(
    inputs: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels taps"],
    bias: Float[Tensor, " channels"] | None,
    activation: str,
    mask: Float[Tensor, "batch time 1"] | None,
    memory: Memory,
    name: str = "conv",
) -> ShortConvolution:
    """``act(bias + sum_j weight[j] x[t - (taps - 1) + j])`` per channel, continued from and kept in `memory`.

    The convolution runs in the dtype of its weight, as in the stock modules; the activation in float32 at least.

    Raises:
        UnsupportedFamilyError: the activation is none of those that `slope_of` knows.
    """
    past = memory.extend(inputs, weight.shape[1], name).to(weight.dtype)
    values = inputs.to(weight.dtype)
    wide, slope_at = torch.promote_types(inputs.dtype, torch.float32), slope_of(activation)

    def convolved() -> Tensor:
        return depthwise(values, weight, bias, past).to(wide)

    def carried() -> Tensor:
        return depthwise(torch.zeros_like(values), weight, None, past)

    slope: Callable[[], Tensor]
    if activation in ("silu", "swish") and weight.dtype == wide and not is_linearised():
        # In one pass, and the slope only for those who look at it.
        active = depthwise(values, weight, bias, past, silu=True)

        def slope() -> Tensor:
            return slope_at(convolved())
    else:
        plain = convolved()
        held = fixed(slope_at(plain))
        active = plain * held

        def slope() -> Tensor:
            return held

    done = ShortConvolution(inputs, active, slope, weight, bias, carried if past.shape[1] else None)
    return done if mask is None else done.scaled(mask)


def shifted(
    hidden: Float[Tensor, "batch time model"], memory: Memory, name: str = "shift"
) -> Float[Tensor, "batch time model"]:
    """Each token's predecessor (zeros before the first), continued from and kept in `memory`: RWKV's token shift."""
    past = memory.extend(hidden, 2, name)
    if past.shape[1] == 0:
        past = torch.zeros_like(hidden[:, :1])
    return torch.cat([past, hidden[:, :-1]], dim=1)


def inverse_rms(x: Float[Tensor, "*batch size"], eps: float) -> Float[Tensor, "*batch one"]:
    """``1 / sqrt(mean(x^2) + eps)`` over the last axis, kept: the scale of a root-mean-square norm."""
    return torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def inverse_deviation(x: Float[Tensor, "*batch size"], eps: float) -> Float[Tensor, "*batch one"]:
    """``1 / sqrt(var(x) + eps)`` over the last axis, kept: the scale of a layer or group norm."""
    return torch.rsqrt(x.var(-1, unbiased=False, keepdim=True) + eps)


def stabilised(
    log_decay: Float[Tensor, "batch time heads"],
    log_write: Float[Tensor, "batch time heads"],
    start: Float[Tensor, "batch heads"] | None = None,
) -> tuple[Float[Tensor, "batch time heads"], Float[Tensor, "batch time heads"], Float[Tensor, "batch time heads"]]:
    """An exponential input gate as an ordinary decay: ``(log_decay', write, m)`` with every factor at most 1.

    The state is kept divided by ``exp(m_t)``, ``m_t = max(m_{t-1} + log_decay_t, log_write_t)`` (xLSTM, Beck et al.
    2024, arXiv:2405.04517, equations 15 to 17; RWKV-4's running maximum is the same): then
    ``log_decay' = log_decay + m_{t-1} - m_t`` and ``write = exp(log_write - m_t)``. `start` is ``m`` before the first
    step; None means that the state is zero there. `m` is computed from running sums in float64, in a few calls whatever
    the length, and is a constant to autograd: what is read does not depend on it.
    """
    wide_decay, wide_write = log_decay.double(), log_write.double()
    with torch.no_grad():
        total = wide_decay.cumsum(1)
        largest = (wide_write - total).cummax(1).values
        if start is not None:
            largest = torch.maximum(largest, start.double()[:, None])
        m = total + largest
        before = torch.cat([m[:, :1] if start is None else start.double()[:, None], m[:, :-1]], dim=1)
    dtype = log_write.dtype
    decay = (wide_decay + (before - m)).to(dtype)
    return decay, (wide_write - m).exp().to(dtype), m.to(dtype)
