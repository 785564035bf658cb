"""What every cell whose gates read its own hidden state has in common (LSTM, GRU, Elman, sLSTM).

Once the hidden states are known, so is every gate, for all steps in one product; what is left is a diagonal decay of
one number a unit (q = k = 1):

    state_t = exp(log_decay_t) state_{t-1} + write_t v_t        written_t = gate_t scale(state_t) state_t

It is exact *given the gates* and says nothing about what the past did to them, so every inlet here is `conditional`.
The candidate's share of the hidden state before is held fixed, too: it is in the value path's offset. Only a linearised
run (`workbench.mixing.linearised`) follows it, gates fixed, to the inputs that it came from. What a cell does to its
input in full is its Jacobian (`workbench.attention.jacobian`).

Edits of operands act with the gates as they were. Only while somebody listens to ``hook_state`` does a cell run one
step at a time (`Inlet.stepwise`): every edit, of a state or an operand, then reaches the gates of all later steps.
Where the listeners say at which steps they look and no operand was edited, what lies between runs fused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from workbench import kernels, mixing
from workbench.forms import DiagonalDecay
from workbench.kernels.segments import segments
from workbench.memory import DictMemory, Memory
from workbench.mixing import Inlet, OnState, Outlet, ValuePath, Values

Inputs = Float[Tensor, "batch time inputs"]
Hidden = Float[Tensor, "batch time hidden"]
Units = Float[Tensor, "batch time units"]
Mask = Float[Tensor, "batch time 1"]
State = Float[Tensor, "batch units 1 1"]


@dataclass(frozen=True)
class Weights:
    """A cell's parameters, gates stacked along the rows in torch's order.

    Attributes:
        input: reads the input.
        recurrent: reads the hidden state before.
        input_bias, recurrent_bias: what goes with each; None for none.
        projection: makes the hidden state of what the cell wrote (``proj_size`` of `torch.nn.LSTM`); None where the two
            are the same.
    """

    input: Float[Tensor, "gates inputs"]
    recurrent: Float[Tensor, "*gates hidden"]
    input_bias: Float[Tensor, " gates"] | None = None
    recurrent_bias: Float[Tensor, " gates"] | None = None
    projection: Float[Tensor, "hidden units"] | None = None

    def to(self, dtype: torch.dtype) -> Weights:
        """The same in another dtype."""

        def cast(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(dtype)

        optional = (cast(part) for part in (self.input_bias, self.recurrent_bias, self.projection))
        return Weights(self.input.to(dtype), self.recurrent.to(dtype), *optional)

    def flat(self) -> list[Tensor]:
        """In the order in which torch's fused recurrences take them."""
        parts = (self.input, self.recurrent, self.input_bias, self.recurrent_bias, self.projection)
        return [part for part in parts if part is not None]

    def one_layer(self) -> tuple[list[Tensor], bool, int, float, bool, bool, bool]:
        """What torch's fused recurrences take after input and state, for one layer, one direction, batch first."""
        # In training mode whenever a gradient may be asked for: cuDNN keeps what the backward pass needs only then.
        return self.flat(), self.input_bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True


@dataclass(frozen=True)
class Gates:
    """What a cell makes of the input and of the hidden state before it, for any number of steps.

    Attributes:
        candidate: the input's share of the candidate's pre-activation.
        rest: what the hidden state and the biases add to it.
        slope: the candidate is ``slope * (candidate + rest)``.
        log_decay, write: as in the form.
        gate: the output gate; None for none.
        read: one over a normaliser; None for none.
    """

    candidate: Units
    rest: Units
    slope: Units
    log_decay: Units
    write: Units
    gate: Units | None = None
    read: Units | None = None


class Cell(ABC):
    """One recurrent layer: how its gates come from the input and the hidden state before.

    Its memory is ``cell`` (the state that belongs to the gates), ``hidden`` ``[batch, hidden]`` where that is not the
    state itself, and what `gates` keeps besides. The form's own ``state`` differs from ``cell`` where an edit was made
    with the gates held fixed.

    Attributes:
        stacked: how many gates are stacked in the weights.
        kept: names of what the gates need in the next call; without ``hidden``, the hidden state is the state.
    """

    stacked: ClassVar[int]
    kept: ClassVar[tuple[str, ...]] = ("hidden", "cell")

    def __init__(self, weights: Weights, dtype: torch.dtype) -> None:
        """A cell for inputs of that dtype, which computes in float32 at least."""
        self.dtype = torch.promote_types(dtype, torch.float32)
        self.weights = weights.to(self.dtype)

    @abstractmethod
    def gates(self, projected: Units, hidden: Hidden, mask: Mask | None, memory: Memory) -> Gates:
        """Gates of some steps, from the input's projection and the hidden state before each step."""

    def scale(self, z: Values) -> Tensor | None:
        """The cell writes ``scale(z) z``; None where it writes its state."""
        return None

    def fused(self, inputs: Inputs, hidden: Float[Tensor, "batch hidden"], state: State) -> tuple[Hidden, State] | None:
        """Hidden states after each step and the last state by one of torch's fused recurrences; None without one."""
        return None

    @property
    def units(self) -> int:
        """Hidden units: each is a head with one value."""
        return self.weights.input.shape[0] // self.stacked

    @property
    def width(self) -> int:
        """Size of the hidden state: the units, unless they are projected."""
        return self.units if self.weights.projection is None else self.weights.projection.shape[0]

    # The hidden states, then the form.

    def hidden_states(self, inputs: Inputs, mask: Mask | None, memory: Memory) -> Hidden:
        """What the layer hands on, without a form: the fast way when nobody looks. `mask` is 0 at pads."""
        inputs = inputs.to(self.dtype)
        hidden, state = self._start(inputs, memory)
        plain = mask is None and not mixing.is_linearised()
        done = self.fused(inputs, hidden, state) if plain else None
        if done is None:
            projected = F.linear(inputs, self.weights.input)
            _, _, after, final = self._stepped(projected, mask, _kept_in(memory, self.kept), state, None, None, memory)
        else:
            after, final = done
            own = DictMemory({"hidden": after[:, -1], "cell": final})
            self._keep(own, memory)
        memory.set("state", final)
        return after

    def inlet(self, inputs: Inputs, mask: Mask | None, memory: Memory) -> Inlet:
        """The conditional form of a sequence; the memory of the gates goes on, ``state`` is the caller's to keep."""
        inputs = inputs.to(self.dtype)
        before = _kept_in(memory, self.kept)
        own = DictMemory(dict(before))
        first = self._start(inputs, own)[0]
        after = self.hidden_states(inputs, mask, own)
        self._keep(own, memory)
        projected = F.linear(inputs, self.weights.input)
        past = torch.cat([first[:, None], after[:, :-1]], dim=1)
        inlet = self._inlet(self.gates(projected, past, mask, DictMemory(dict(before))), mask)

        def stepwise(
            hooked: Inlet, start: State | None, on_state: OnState, at: list[int] | None = None
        ) -> tuple[Inlet, Values, State]:
            own_start = self._start(inputs, DictMemory(dict(before)))[1]
            state = own_start.new_zeros(own_start.shape) if start is None else start
            edited = any(getattr(hooked.form, name) is not getattr(inlet.form, name) for name in OPERANDS)
            if at is not None and not edited and torch.equal(state, own_start):
                return self._in_segments(inputs, mask, before, state, on_state, at, memory)
            shown = on_state if at is None else _only(at, on_state)
            form, z, _, final = self._stepped(projected, mask, before, state, (inlet, hooked), shown, memory)
            return form, z, final

        return replace(inlet, stepwise=stepwise)

    def _in_segments(
        self,
        inputs: Inputs,
        mask: Mask | None,
        before: dict[str, Tensor],
        state: State,
        on_state: OnState,
        at: list[int],
        memory: Memory,
    ) -> tuple[Inlet, Values, State]:
        """The steps of `at` one at a time, shown to `on_state`; fused what lies between."""
        kept: dict[str, Tensor] = dict(before)
        inlets, read = [], []
        for span, chosen in segments(at, inputs.shape[1]):
            seen = None if mask is None else mask[:, span]
            if chosen:
                projected = F.linear(inputs[:, span], self.weights.input)
                shown = _later(span.start, on_state)
                own = DictMemory({})
                inlet, z, _, state = self._stepped(projected, seen, kept, state, None, shown, own)
                kept = _kept_in(own, self.kept)
            else:
                inlet = self.inlet(inputs[:, span], seen, DictMemory(kept))
                z, final = kernels.forward(inlet.form, state)
                assert final is not None  # the form is recurrent
                state = final
            inlets.append(inlet)
            read.append(z)
        self._keep(DictMemory(kept), memory)
        return _joined(inlets), torch.cat(read, dim=1), state

    def outlet(self, z: Values) -> Outlet:
        """What stands between the state and what the cell writes."""
        scale = self.scale(z)
        return Outlet(scale=None if scale is None else mixing.fixed(scale))

    def hand_on(self, written: Float[Tensor, "batch time units"]) -> Hidden:
        """The hidden state of what the cell wrote."""
        return written if self.weights.projection is None else F.linear(written, self.weights.projection)

    def _start(self, inputs: Inputs, memory: Memory) -> tuple[Float[Tensor, "batch hidden"], State]:
        hidden, state = memory.get("hidden"), memory.get("cell")
        if "hidden" not in self.kept:
            hidden = None if state is None else state[..., 0, 0]
        batch = inputs.shape[0]
        return (
            inputs.new_zeros(batch, self.width) if hidden is None else hidden.to(self.dtype),
            inputs.new_zeros(batch, self.units, 1, 1) if state is None else state.to(self.dtype),
        )

    def _keep(self, own: Memory, memory: Memory) -> None:
        for name in self.kept:
            value = own.get(name)
            assert value is not None  # every run of a cell leaves all of them
            memory.set(name, value)

    def _inlet(self, gates: Gates, mask: Mask | None) -> Inlet:
        slope, rest = mixing.fixed(gates.slope), gates.rest
        log_decay, write = mixing.fixed(gates.log_decay), mixing.fixed(gates.write)
        gate, read = (None if part is None else mixing.fixed(part) for part in (gates.gate, gates.read))
        if mask is not None:
            slope, log_decay, write = slope * mask, log_decay * mask, write * mask
        v = slope * (gates.candidate + rest)
        ones = torch.ones_like(v[..., :1, None])
        form = DiagonalDecay(q=ones, k=ones, v=v[..., None], log_decay=log_decay[..., None], write=write, read=read)
        path = ValuePath(
            gates.candidate[..., None], source=lambda: slope[..., None], offset=lambda: (slope * rest)[..., None]
        )
        return Inlet(form, None if gate is None else gate[..., None], path, conditional=True)

    def _stepped(
        self,
        projected: Float[Tensor, "batch time gates"],
        mask: Mask | None,
        before: dict[str, Tensor],
        state: State,
        edits: tuple[Inlet, Inlet] | None,
        on_state: OnState | None,
        memory: Memory,
    ) -> tuple[Inlet, Values, Hidden, State]:
        """The layer one step at a time; operands that `edits` (as computed, as hooked) tell apart stay as hooked."""
        own = DictMemory(dict(before))
        hidden = self._start(projected, own)[0]
        inlets, read, handed = [], [], []
        for t in range(projected.shape[1]):
            now = slice(t, t + 1)
            seen = None if mask is None else mask[:, now]
            step = self._inlet(self.gates(projected[:, now], hidden[:, None], seen, own), seen)
            if edits is not None:
                step = _edited(step, edits[0], edits[1], now)
            decay, write, v = (x.transpose(1, 2)[..., None] for x in _moves(step))
            state = decay * state + write * v
            state = state if on_state is None else on_state(t, state)
            z = state.squeeze(-1).transpose(1, 2)
            read_factor = _form(step).read
            z = z[..., None] if read_factor is None else z[..., None] * read_factor[..., None]
            written = mixing.outputs(z, step.form.v, step.gate, self.outlet(z)).flatten(2)
            new = self.hand_on(written)[:, 0]
            # At a pad a hidden state of its own waits; one that is the state is whatever a hook made of that.
            waits = "hidden" in self.kept
            hidden = new if seen is None or not waits else torch.where(seen[:, 0] > 0, new, hidden)
            inlets.append(step)
            read.append(z)
            handed.append(hidden)
        own.set("hidden", hidden)
        own.set("cell", state)
        self._keep(own, memory)
        return _joined(inlets), torch.cat(read, dim=1), torch.stack(handed, dim=1), state


def tanh_slope(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``tanh(x) / x``, 1 at 0: the factor that is held fixed for implicit attention."""
    safe = torch.where(x == 0, 1, x)
    return torch.where(x == 0, 1, safe.tanh() / safe)


def _later(first: int, on_state: OnState) -> OnState:
    return lambda step, state: on_state(first + step, state)


def _only(at: list[int], on_state: OnState) -> OnState:
    return lambda step, state: on_state(step, state) if step in at else state


def _kept_in(memory: Memory, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name in names if (value := memory.get(name)) is not None}


def _form(inlet: Inlet) -> DiagonalDecay:
    assert isinstance(inlet.form, DiagonalDecay)  # the form that `_inlet` builds
    return inlet.form


def _moves(inlet: Inlet) -> tuple[Units, Units, Units]:
    form = _form(inlet)
    assert form.write is not None
    return form.log_decay[..., 0].exp(), form.write, form.v[..., 0]


OPERANDS = ("v", "log_decay", "write", "read")


def _edited(step: Inlet, computed: Inlet, hooked: Inlet, now: slice) -> Inlet:
    changes: dict[str, Any] = {}
    for name in OPERANDS:
        plain, edited, own = (getattr(inlet.form, name) for inlet in (computed, hooked, step))
        if own is not None and edited is not plain:
            changes[name] = torch.where(edited[:, now] == plain[:, now], own, edited[:, now])
    return replace(step, form=replace(_form(step), **changes))


def _joined(inlets: list[Inlet]) -> Inlet:
    """One inlet of the steps' inlets."""

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.cat(present, dim=1) if present else None

    parts: dict[str, Any] = {
        name: joined([getattr(inlet.form, name) for inlet in inlets]) for name in ("q", "k", *OPERANDS)
    }
    form = replace(_form(inlets[0]), **parts)
    paths = [inlet.path for inlet in inlets if inlet.path is not None]

    def source() -> Tensor:
        return torch.cat([path.source() for path in paths if path.source is not None], dim=1)

    path = ValuePath(
        torch.cat([path.inputs for path in paths], dim=1),
        source=None if any(path.source is None for path in paths) else source,
        offset=lambda: joined([None if path.offset is None else path.offset() for path in paths]),
    )
    return replace(inlets[0], form=form, gate=joined([inlet.gate for inlet in inlets]), path=path)
