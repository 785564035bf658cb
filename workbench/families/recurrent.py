"""The template that every recurrent mixer with a short convolution, a skip and an output gate follows.

    inputs, gate, rest = project(hidden)          in_proj
    c = conv(inputs) + bias;  a = act(c) * mask   short causal depthwise convolution; pads are silenced
    form = core_form(a, rest)                     q, k, v, log decay, write strength  -> the canonical form
    z = A v                                       the recurrence, by workbench.kernels
    y = scale * gate * (z + skip * v)             skip, output gate, norm
    out_proj(y)

A family says how its weights give these parts (`RecurrentAdapter`'s abstract methods) and nothing else: hooks, padding,
caches, stepwise runs and the record for implicit attention are here, once. Weights are read from the module at each
call, so an edited or swapped parameter counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import kernels
from workbench.errors import HookEditError, InputError, UnsupportedFamilyError
from workbench.families.base import MixerAdapter
from workbench.families.memory import Memory, NoMemory, TransformersMemory, ZooMemory
from workbench.forms import DiagonalDecay, MixerForm, RecurrentForm

LARGEST_PATTERN = 2**31  # numbers in a `hook_pattern`: 8 GiB in float32


@dataclass(frozen=True)
class Projected:
    """The input projection's output, cut into its parts.

    Attributes:
        inputs: what the convolution reads; its first ``n_heads * d_value`` channels are the value path.
        gate: the output gate before its non-linearity.
        rest: what bypasses the convolution (Mamba-2's time step), or None.
    """

    inputs: Float[Tensor, "batch time channels"]
    gate: Float[Tensor, "batch time inner"]
    rest: Float[Tensor, "batch time other"] | None = None


class RecurrentAdapter(MixerAdapter):
    """A mixer whose core is a recurrent form; see the module's docstring for what is computed.

    The recurrence and everything around it run in float32 at least (half-precision models included) and in float64 for
    a float64 model, where transformers' own mixers keep casting parts to float32.

    ``hook_pattern [B,H,T,T]``, on request, is the core's implicit attention. An edited pattern is the one applied,
    ``z = pattern v`` plus what the state left by earlier calls brings; the state handed on stays the recurrence's own.

    Attributes:
        backend: the kernel backend of the recurrence, ``"auto"`` unless somebody wants a particular one.
    """

    recurrent: ClassVar[bool] = True
    log_decay_axes: ClassVar[tuple[str, ...]] = ("batch", "time", "head")
    log_decay_on_request: ClassVar[bool] = False

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self.backend: Any = "auto"
        self._activation = _slope(str(getattr(module, "activation", "silu")))

    # What a family supplies.

    @abstractmethod
    def project(self, hidden: Float[Tensor, "batch time model"]) -> Projected:
        """Apply the input projection and cut its output into parts."""

    @abstractmethod
    def core_form(
        self, active: Float[Tensor, "batch time channels"], rest: Float[Tensor, "batch time other"] | None
    ) -> RecurrentForm:
        """The canonical form from the activated convolution's output (at least float32) and what bypassed it."""

    @abstractmethod
    def skip(self) -> Float[Tensor, "heads value"] | None:
        """Factor a head and channel on the value that is added to the core's output, or None."""

    def output_scale(self, gated: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time inner"] | None:
        """The factor by which a norm after the gate multiplies `gated`, its weight included; None for no norm."""
        return None

    @abstractmethod
    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch heads ..."]:
        """A state of the form in the layout that the family's caches keep."""

    @abstractmethod
    def from_cache(self, state: Float[Tensor, "batch heads ..."]) -> Float[Tensor, "batch heads key value"]:
        """The inverse of `to_cache`."""

    # What the template does with it.

    def declare_points(self) -> Iterable[tuple[str, tuple[str, ...], bool]]:
        yield "hook_q", ("batch", "time", "group", "key"), False
        yield "hook_k", ("batch", "time", "group", "key"), False
        yield "hook_v", ("batch", "time", "head", "value"), False
        yield "hook_log_decay", self.log_decay_axes, self.log_decay_on_request
        yield "hook_write", ("batch", "time", "head"), False
        yield "hook_pattern", ("batch", "head", "time", "source"), True
        yield "hook_state", ("batch", "head", "key", "value"), True
        yield "hook_z", ("batch", "time", "head", "value"), False
        yield "hook_gate", ("batch", "time", "head", "value"), False
        yield "hook_head_out", ("batch", "time", "head", "value"), False

    def install(self) -> Callable[[], None]:
        # accelerate wraps a dispatched module's forward and keeps the wrapped one here; its wrapper stays outermost.
        attribute = "_old_forward" if "_old_forward" in vars(self.module) else "forward"
        before = vars(self.module).get(attribute)
        setattr(self.module, attribute, self.forward)

        def undo() -> None:
            if before is None:
                delattr(self.module, attribute)
            else:
                setattr(self.module, attribute, before)

        return undo

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        cache_params: Any = None,
        attention_mask: Tensor | None = None,
        cache: dict[str, Tensor] | None = None,
        **ignored: Any,
    ) -> Float[Tensor, "batch time model"]:
        """Mix tokens as the module would, firing hooks; the signature serves transformers' blocks and the zoo's.

        `attention_mask` is 0 at pads and may span tokens that are in the cache already.
        """
        memory = self._memory(cache_params, cache)
        time = hidden_states.shape[1]
        mask = None if attention_mask is None else attention_mask[:, -time:, None].to(hidden_states.dtype)
        projected = self.project(hidden_states if mask is None else hidden_states * mask)
        wide = torch.promote_types(hidden_states.dtype, torch.float32)

        convolved, carried = self._convolve(projected.inputs, memory)
        slope = self._activation(convolved.to(wide))
        active = convolved.to(wide) * slope
        if mask is not None:
            slope, active = slope * mask, active * mask
        form = self._hooked(self.core_form(active, projected.rest))
        start = None if memory.state is None else self.from_cache(memory.state).to(wide)
        pattern = self._edited_pattern(form)
        z, final = self._recur(form, start)
        if pattern is not None:
            z = kernels.apply_pattern(pattern, form.v)
            z = z if start is None else z + self._carried(form, start)
        carried_z = None if start is None or not self.recording else self._carried(form, start)
        memory.store(self.to_cache(final))  # transformers overwrites in place what `start` looks at
        z = self.points["hook_z"](z)

        gate = self.points["hook_gate"](F.silu(self._heads(projected.gate.to(wide))))
        skip = self.skip()
        gated = (z if skip is None else z + skip.to(wide) * form.v) * gate
        scale = self.output_scale(gated.flatten(2))
        scale = None if scale is None else self._heads(scale)
        outputs = self.points["hook_head_out"](gated if scale is None else gated * scale)
        if self.recording:
            weight, bias = self._value_taps()
            self.record(
                MixerForm(
                    core=form,
                    z=z,
                    outputs=outputs,
                    inputs=self._heads(projected.inputs.to(wide)),
                    conv=weight.to(wide),
                    conv_bias=None if bias is None else bias.to(wide),
                    source=self._heads(slope),
                    skip=None if skip is None else skip.to(wide),
                    gate=gate if scale is None else gate * scale,
                    carried_conv=None if carried is None else self._heads(carried.to(wide)),
                    carried_z=carried_z,
                )
            )
        out: Tensor = self._submodule("out_proj")(outputs.flatten(2).to(hidden_states.dtype))
        return out

    def _submodule(self, name: str) -> nn.Module:
        return self.module.get_submodule(name)

    def _parameter(self, name: str) -> Tensor:
        return self.module.get_parameter(name)

    def _memory(self, cache_params: Any, cache: dict[str, Tensor] | None) -> Memory:
        if cache_params is not None:
            return TransformersMemory(cache_params, int(getattr(self.module, "layer_idx", self.layer)))
        return NoMemory() if cache is None else ZooMemory(cache)

    def _convolve(
        self, inputs: Float[Tensor, "batch time channels"], memory: Memory
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch time channels"] | None]:
        """The convolution's output; and, while recording, the part of it that comes from a cache."""
        conv = self._submodule("conv1d")
        weight, bias = conv.get_parameter("weight"), conv._parameters.get("bias")
        channels, _, taps = weight.shape
        columns = inputs.transpose(1, 2).to(weight.dtype)
        past = memory.extend(inputs.transpose(1, 2), taps).to(weight.dtype)
        padded = F.pad(torch.cat([past, columns], dim=-1), (taps - 1 - past.shape[-1], 0))
        convolved = F.conv1d(padded, weight, bias, groups=channels).transpose(1, 2)
        if not self.recording or past.shape[-1] == 0:
            return convolved, None
        only_past = torch.cat([padded[..., : taps - 1], torch.zeros_like(columns)], dim=-1)
        return convolved, F.conv1d(only_past, weight, groups=channels).transpose(1, 2)

    def _value_taps(self) -> tuple[Float[Tensor, "heads value taps"], Float[Tensor, "heads value"] | None]:
        conv = self._submodule("conv1d")
        weight, bias = conv.get_parameter("weight"), conv._parameters.get("bias")
        inner = self.n_heads * self.d_value
        taps = weight[:inner, 0].reshape(self.n_heads, self.d_value, -1)
        return taps, None if bias is None else bias[:inner].reshape(self.n_heads, self.d_value)

    def _heads(self, flat: Float[Tensor, "batch time channels"]) -> Float[Tensor, "batch time heads value"]:
        inner = self.n_heads * self.d_value
        split: Tensor = flat[..., :inner].unflatten(-1, (self.n_heads, self.d_value))
        return split

    def _hooked(self, form: RecurrentForm) -> RecurrentForm:
        """Show the form's operands to the hooks and put their edits in."""
        q, k, v = (self.points[f"hook_{name}"](getattr(form, name)) for name in "qkv")
        form = replace(form, q=q, k=k, v=v)
        decay = self.points["hook_log_decay"]
        if decay.active and isinstance(form, DiagonalDecay) and form.rate is not None:
            # The factored decay cannot hold an edit of one state dimension, and an edit in place would go unnoticed:
            # whoever listens gets the full tensor and what comes back is what runs.
            form = replace(form, log_decay=decay(form.log_decay * form.rate), rate=None)
        else:
            form = replace(form, log_decay=decay(form.log_decay))
        if form.write is not None:
            form = replace(form, write=self.points["hook_write"](form.write))
        return form

    def _edited_pattern(self, form: RecurrentForm) -> Float[Tensor, "batch heads time time"] | None:
        """The pattern that is to replace the recurrence: an edited one, or one that a gradient is wanted of."""
        point = self.points["hook_pattern"]
        if not point.active:
            return None
        batch, time = form.v.shape[:2]
        size = batch * self.n_heads * time * time
        if size > LARGEST_PATTERN:
            raise InputError(
                f"{point.name} would hold {size} numbers [{batch}, {self.n_heads}, {time}, {time}], at most "
                f"{LARGEST_PATTERN} are built at once; implicit_attention(...).dense(heads, rows) gives a part of them."
            )
        pattern = kernels.dense(form, backend=self.backend)
        # Tensors made in inference mode have no version that tells of an edit in place.
        before, version = (pattern.clone(), None) if pattern.is_inference() else (pattern, pattern._version)
        shown = point(pattern)
        changed = shown is not before and not torch.equal(shown, before)
        changed = changed or (version is not None and pattern._version != version)
        if changed and self.points["hook_state"].active:
            raise HookEditError(
                f"A hook changed {point.name} while another listens to hook_state, which is of the unchanged "
                "recurrence; use one of the two at a time."
            )
        return shown if changed or (shown.requires_grad and not self.points["hook_state"].active) else None

    def _recur(
        self, form: RecurrentForm, start: Float[Tensor, "batch heads key value"] | None
    ) -> tuple[Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
        point = self.points["hook_state"]
        if not point.active:
            z, final = kernels.forward(form, start, backend=self.backend)
            assert final is not None  # only softmax has no state
            return z, final

        def show(step: int, state: Tensor) -> Tensor:
            point.step = step
            shown: Tensor = point(state)
            return shown

        try:
            return kernels.iterate(form, start, on_state=show)
        finally:
            point.step = None

    def _carried(
        self, form: RecurrentForm, start: Float[Tensor, "batch heads key value"]
    ) -> Float[Tensor, "batch time heads value"]:
        """What the state left by earlier calls adds to the core's output: column -1 of the implicit attention."""
        out, _ = kernels.forward(replace(form, v=torch.zeros_like(form.v)), start, backend=self.backend)
        return out


def _slope(activation: str) -> Callable[[Tensor], Tensor]:
    """The factor s(c) with ``act(c) = s(c) c``, the non-linearity that is held fixed for implicit attention."""
    if activation in ("silu", "swish"):
        return torch.sigmoid
    if activation == "relu":
        return lambda c: (c > 0).to(c.dtype)
    if activation in ("linear", "identity"):
        return torch.ones_like
    raise UnsupportedFamilyError(
        f"The mixer's activation {activation!r} has no exact linear form here; silu, relu and linear have one."
    )
