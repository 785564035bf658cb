"""The adapter of every mixer whose core is a recurrent form, in the terms of `workbench.mixing`.

A family says how its module's weights give the inlet and the outlet; hooks, padding, caches, stepwise runs and the
record for implicit attention are here, once. Weights are read from the module at each call, so an edited or swapped
parameter counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import kernels, mixing
from workbench.errors import HookEditError, InputError
from workbench.families.base import MixerAdapter
from workbench.families.cutting import taken_away
from workbench.forms import Delta, DiagonalDecay, RecurrentForm
from workbench.memory import DictMemory, Memory, NoMemory, TransformersMemory
from workbench.mixing import Inlet, Outlet

LARGEST_PATTERN = 2**31  # numbers in a `hook_pattern`: 8 GiB in float32

OPERAND_AXES: dict[str, tuple[str, ...]] = {
    "q": ("batch", "time", "group", "key"),
    "k": ("batch", "time", "group", "key"),
    "v": ("batch", "time", "head", "value"),
    "log_decay": ("batch", "time", "head"),
    "write": ("batch", "time", "head"),
    "probe": ("batch", "time", "group", "key"),
    "erase": ("batch", "time", "group", "key"),
    "read": ("batch", "time", "head"),
    "diagonal": ("batch", "time", "head"),
}


class RecurrentAdapter(MixerAdapter):
    """A mixer whose core is a recurrent form; see `workbench.mixing` for what is computed.

    The recurrence and everything around it run in float32 at least (half-precision models included) and in float64 for
    a float64 model, where transformers' own mixers keep casting parts to float32.

    ``hook_pattern [B,H,T,T]``, on request, is the core's implicit attention. An edited pattern is the one applied,
    ``z = pattern v`` plus what the state left by earlier calls brings; the state handed on stays the recurrence's own.

    Attributes:
        operands: the form's operands that the family computes from its input, each shown at a hook point of its name.
        gated: whether there is an output gate, shown at ``hook_gate``.
        log_decay_axes: axes of ``hook_log_decay``; four where every key dimension decays at its own rate.
        activation_key: the configuration key that names the activation after the convolution.
        log_decay_on_request: whether that hook needs a tensor that is otherwise never built.
        opened: names in the memory under which an `opening` is put: cells keep the state that their gates read, too.
        backend: the kernel backend of the recurrence, ``"auto"`` unless somebody wants a particular one.
        opening: a state ``[batch, heads, key, value]`` that takes the place of the memory's in the next call, once.
        closing: called with the state after each call.
        seen: steps of this text that earlier calls have taken; who calls with a memory of other origin sets it.
    """

    recurrent: ClassVar[bool] = True
    operands: tuple[str, ...] = ("q", "k", "v", "log_decay", "write")
    gated: bool = True
    log_decay_axes: tuple[str, ...] = ("batch", "time", "head")
    log_decay_on_request: bool = False
    activation_key: str = "hidden_act"
    opened: tuple[str, ...] = ("state",)

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self.backend: Any = "auto"
        self.opening: Tensor | None = None
        self.closing: Callable[[Tensor], None] | None = None
        self.seen = 0
        self._activation = str(getattr(module, "activation", "silu"))
        mixing.slope_of(self._activation, self.activation_key)  # refuses one without a linear form before a run

    # What a family supplies.

    @abstractmethod
    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        """Project, convolve, activate. `mask` is 0 at pads, whose values must not be written into the state."""

    def read_out(self, z: mixing.Values, inlet: Inlet) -> Outlet:
        """What stands between the recurrence and the output projection; nothing, unless the family has a norm or skip.

        `inlet` holds the form and the gate as the hooks left them.
        """
        return Outlet()

    @abstractmethod
    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        """Apply the output projection."""

    def to_cache(self, state: Float[Tensor, "batch heads key value"]) -> Float[Tensor, "batch heads ..."]:
        """A state of the form in the layout that the family's caches keep: the same, by default."""
        return state

    def from_cache(self, state: Float[Tensor, "batch heads ..."]) -> Float[Tensor, "batch heads key value"]:
        """The inverse of `to_cache`."""
        return state

    def forward(
        self,
        hidden_states: Float[Tensor, "batch time model"],
        cache_params: Any = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        **ignored: Any,
    ) -> Any:
        """Stand in for the module's own forward; this signature serves most blocks of transformers and the zoo's.

        `attention_mask` is 0 at pads and may span tokens that are in the cache already.
        """
        memory = self.memory(cache_params, cache)
        return self.mix(hidden_states, memory, attention_mask, position_ids)

    def memory(self, cache_params: Any, cache: Any) -> Memory:
        """The layer's part of whichever cache the block handed over."""
        if cache_params is not None:
            return TransformersMemory(cache_params, int(getattr(self.module, "layer_idx", self.layer)))
        return NoMemory() if cache is None else DictMemory(cache)

    # What is done with it.

    def declare_points(self) -> Iterable[tuple[str, tuple[str, ...], bool]]:
        for name in self.operands:
            if name == "log_decay":
                yield "hook_log_decay", self.log_decay_axes, self.log_decay_on_request
            else:
                yield f"hook_{name}", OPERAND_AXES[name], False
        yield "hook_pattern", ("batch", "head", "time", "source"), True
        yield "hook_state", ("batch", "head", "key", "value"), True
        yield "hook_z", ("batch", "time", "head", "value"), False
        if self.gated:
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

    def mix(
        self,
        hidden: Float[Tensor, "batch time model"],
        memory: Memory,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Float[Tensor, "batch time out"]:
        """Mix tokens as the module would, firing hooks."""
        mask = None if attention_mask is None else attention_mask[:, -hidden.shape[1] :, None].to(hidden.dtype)
        fresh = memory.fresh
        self.seen = 0 if fresh else self.seen
        opening, self.opening = self.opening, None
        if opening is not None:
            if any(cut.seen for cut in self.cuts):
                raise InputError(
                    f"The state of layer {self.layer} was replaced while edges are knocked out there: nobody can tell "
                    "which part of a new state the sources wrote."
                )
            for name in self.opened:
                memory.set(name, self.to_cache(opening))
        inlet = self.read_in(hidden, mask, memory, positions)
        values = inlet.form.v.clone() if self.cuts and self.points["hook_v"].active else None
        inlet = replace(inlet, form=self._hooked(inlet.form))
        form = inlet.form
        stored = memory.get("state")
        start = None if stored is None else self.from_cache(stored).to(form.v.dtype)
        start = start if opening is None else opening.to(form.v.dtype)
        pattern = self._edited_pattern(form)
        inlet, z, final = self._recur(inlet, start)
        form = inlet.form
        if pattern is not None:
            z = kernels.apply_pattern(pattern, form.v)
            z = z if start is None else z + self._carried(form, start)
        carried_z = None if start is None or not self.recording else self._carried(form, start)
        seen = inlet
        if self.cuts:
            # Values that a hook changed are no longer what the convolution made: each counts as its own token's.
            edited = values is not None and not torch.equal(values, form.v)
            cut = replace(inlet, path=None) if edited else inlet
            z, v = taken_away(self.cuts, cut, z, start, fresh, self.layer, self.backend)
            seen = replace(inlet, form=replace(form, v=v))
        memory.set("state", self.to_cache(final))  # transformers overwrites in place what `start` looks at
        if self.closing is not None:
            self.closing(final)
        z = self.points["hook_z"](z)

        if inlet.gate is not None:
            gate = mixing.fixed(self.points["hook_gate"](inlet.gate))
            inlet, seen = replace(inlet, gate=gate), replace(seen, gate=gate)
        outlet = self._fixed_outlet(self.read_out(z, seen))
        written = self.points["hook_head_out"](mixing.outputs(z, seen.form.v, inlet.gate, outlet))
        if self.recording:
            self.record(mixing.mixer_form(inlet, outlet, z, carried_z, written))
        return self.project_out(written.flatten(2).to(hidden.dtype))

    def _hooked(self, form: RecurrentForm) -> RecurrentForm:
        """Show the form's operands to the hooks and put their edits in; hold all but the values fixed when asked to."""
        for name in self.operands:
            point, operand = self.points[f"hook_{name}"], getattr(form, name)
            if name == "log_decay" and point.active and isinstance(form, DiagonalDecay) and form.rate is not None:
                # The factored decay cannot hold an edit of one state dimension, and an edit in place would go
                # unnoticed: whoever listens gets the full tensor and what comes back is what runs.
                form = replace(form, log_decay=point(form.log_decay * form.rate), rate=None)
            elif name == "log_decay" and isinstance(form, Delta | DiagonalDecay) and operand.ndim > len(point.axes):
                # One decay a head of a form that could hold one a key dimension: its last axis only broadcasts.
                form = replace(form, log_decay=point(form.log_decay[..., 0])[..., None])
            elif operand is not None:
                form = _with(form, {name: point(operand)})
        if not mixing.is_linearised():
            return form
        others = [(field.name, getattr(form, field.name)) for field in fields(form) if field.name != "v"]
        return _with(form, {name: tensor.detach() for name, tensor in others if tensor is not None})

    def _fixed_outlet(self, outlet: Outlet) -> Outlet:
        # Not the offset: a norm's bias is a parameter, and what it adds is attributed to it.
        scale, skip = (None if part is None else mixing.fixed(part) for part in (outlet.scale, outlet.skip))
        return replace(outlet, scale=scale, skip=skip)

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
        pattern = kernels.dense(form, backend=self.backend).contiguous()  # a Toeplitz one is a view that repeats
        # Tensors made in inference mode have no version that tells of an edit in place.
        before, version = (pattern.clone(), None) if pattern.is_inference() else (pattern, pattern._version)
        shown = point(pattern)
        changed = shown is not before and not torch.equal(shown, before)
        changed = changed or (version is not None and pattern._version != version)
        if changed:
            self._refuse_with_cuts("hook_pattern")
        if changed and self.points["hook_state"].active:
            raise HookEditError(
                f"A hook changed {point.name} while another listens to hook_state, which is of the unchanged "
                "recurrence; use one of the two at a time."
            )
        return shown if changed or (shown.requires_grad and not self.points["hook_state"].active) else None

    def _recur(
        self, inlet: Inlet, start: Float[Tensor, "batch heads key value"] | None
    ) -> tuple[Inlet, Float[Tensor, "batch time heads value"], Float[Tensor, "batch heads key value"]]:
        """Run the recurrence; the inlet comes back with other gates where they see edits of the state."""
        point, first, time = self.points["hook_state"], self.seen, inlet.form.time
        self.seen += time
        point.ran = self.seen
        wanted = point.steps(first, first + time)
        at = None if wanted is None else [step - first for step in wanted]
        if at == []:
            z, final = kernels.forward(inlet.form, start, backend=self.backend)
            assert final is not None  # only softmax has no state
            return inlet, z, final

        def show(step: int, state: Tensor) -> Tensor:
            point.step = first + step
            before = state.clone() if self.cuts else None
            shown: Tensor = point(state)
            if before is not None and not torch.equal(before, shown):
                self._refuse_with_cuts("hook_state")
            return shown

        try:
            if inlet.stepwise is not None:
                return inlet.stepwise(inlet, start, show, at)
            return inlet, *kernels.iterate(inlet.form, start, show, at, self.backend)
        finally:
            point.step = None

    def _refuse_with_cuts(self, hook: str) -> None:
        """Raise HookEditError where edges are cut: what the sources brought is known of the unchanged recurrence."""
        if self.cuts:
            raise HookEditError(
                f"A hook changed {self.points[hook].name} while edges are knocked out there, which are taken from the "
                "unchanged recurrence; use one of the two at a time."
            )

    def _carried(
        self, form: RecurrentForm, start: Float[Tensor, "batch heads key value"]
    ) -> Float[Tensor, "batch time heads value"]:
        """What the state left by earlier calls adds to the core's output: column -1 of the implicit attention."""
        out, _ = kernels.forward(replace(form, v=torch.zeros_like(form.v)), start, backend=self.backend)
        return out

    # What families read their modules with.

    def short_convolution(
        self,
        inputs: Float[Tensor, "batch time channels"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        conv: str = "conv1d",
    ) -> mixing.ShortConvolution:
        """The module's short convolution and its activation."""
        module = self.submodule(conv)
        weight, bias = module.get_parameter("weight")[:, 0], module._parameters.get("bias")
        return mixing.short_convolution(inputs, weight, bias, self._activation, mask, memory)

    def submodule(self, name: str) -> nn.Module:
        """A module inside the mixer, by its dotted name."""
        return self.module.get_submodule(name)

    def parameter(self, name: str) -> Tensor:
        """A parameter of the mixer, by its dotted name."""
        return self.module.get_parameter(name)

    def heads(self, flat: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch heads value"]:
        """Cut the value path's channels into heads."""
        split: Tensor = flat[..., : self.n_heads * self.d_value].unflatten(-1, (self.n_heads, self.d_value))
        return split


def _with(form: RecurrentForm, operands: dict[str, Any]) -> RecurrentForm:
    """The form with other operands, by name."""
    return replace(form, **operands)
