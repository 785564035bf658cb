"""One step of a recurrence as a map of vectors, ``h' = F(h, x)``: what the analyses of this room take.

The vector `h` is everything that a mixer carries from one token to the next: an LSTM's hidden state and cell, a GRU's
hidden state, a linear recurrence's matrix and the last inputs of its convolution, laid end to end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import kernels
from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.families.recurrent import RecurrentAdapter
from workbench.hooks import HookPoint
from workbench.memory import DictMemory
from workbench.model import HookedModel
from workbench.wrapping import ModelInput, whole_number
from workbench.zoo.handing import forward_pass, hand_on, handed_so_far

States: TypeAlias = Float[Tensor, "batch dim"]
Step: TypeAlias = Callable[[States], States]


class StateMap:
    """The recurrence of one layer of a model, one token at a time.

    A cell whose gates read its own state (LSTM, GRU, Elman, leaky) computes in float64 whatever the model's dtype is;
    other mixers compute in the model's.

    What a token brings is what the mixer reads of the residual stream, and behind it what earlier layers hand it
    besides (RWKV-7's later layers mix the first layer's values into their own). RetNet turns its keys by the token's
    position: one step of it is a map at that position, and steps under a constant input have no fixed point.

    Attributes:
        parts: name and shape of what the state vector is made of, in order.
        width: size of the input.
        dtype: of states and inputs.

    Raises:
        InputError: no such layer or mixer, or one that is no recurrence.
    """

    @checked_call
    def __init__(self, model: HookedModel, layer: int, mixer: int = 0) -> None:
        adapter = model.mixer(layer, mixer)
        if not isinstance(adapter, RecurrentAdapter):
            raise InputError(
                f"{adapter.place.capitalize()} ({adapter.family}) is no recurrence: it has no state to map."
            )
        self._model = model
        self._adapter = adapter
        # What a cell's gates read stands for the form's state, which would be there a second time.
        self._own_state = set(adapter.opened) == {"state"}
        self.dtype = model.cfg.dtype if self._own_state else torch.float64
        hidden, handed = self._read(torch.zeros(1, 1, dtype=torch.long))
        self._handed = {name: tuple(value.shape[2:]) for name, value in handed.items()}
        self._hidden = hidden.shape[-1]
        self.width = self._hidden + sum(math.prod(shape) for shape in self._handed.values())
        kept: dict[str, Tensor] = {}
        one = torch.zeros(1, 1, self.width, dtype=self.dtype, device=model.cfg.device)
        with torch.no_grad():
            # A short convolution fills its register in a few steps, after which no shape changes.
            for _ in range(16):
                self._advance(kept, one)
            later = dict(kept)
            self._advance(later, one)
            # What counts tokens is no state that could come to rest; it stands still while the map is looked at.
            self._clocks = {name: value for name, value in kept.items() if _counts(value, later[name])}
            self.parts: tuple[tuple[str, tuple[int, ...]], ...] = tuple(
                (name, tuple(value.shape[1:])) for name, value in sorted(kept.items()) if name not in self._clocks
            )
            self._reads_clock = self._differs(kept, {**kept, **{name: later[name] for name in self._clocks}})

    def __repr__(self) -> str:
        made = ", ".join(f"{name} {[*shape]}" for name, shape in self.parts)
        return f"StateMap({self._adapter.place} of {self._model.cfg.model_name}: {self.dim} numbers, {made})"

    @property
    def dim(self) -> int:
        """Numbers in the state vector."""
        return sum(math.prod(shape) for _, shape in self.parts)

    def rest(self, batch: int = 1) -> States:
        """States of zeros: what a mixer starts from, but for running maxima (mLSTM, sLSTM, RWKV-4)."""
        return torch.zeros(batch, self.dim, dtype=self.dtype, device=self._model.cfg.device)

    def step(self, states: States, inputs: Float[Tensor, "batch width"], position: int | None = None) -> States:
        """The state after one more token, of which the mixer reads `inputs`; differentiable in both.

        Args:
            position: of that token, for a mixer that reads it (RetNet).

        Raises:
            InputError: no position for a mixer that reads it, or a state of another size.
        """
        if position is None and self._reads_clock:
            raise InputError(
                f"{self._adapter.place.capitalize()} ({self._adapter.family}) reads the position of each token; say "
                "which one it is."
            )
        batch = len(states)
        held = {
            name: (value if position is None else torch.full_like(value, position)).expand(batch, *value.shape[1:])
            for name, value in self._clocks.items()
        }
        for (name, shape), flat in zip(self.parts, self._split(states), strict=True):
            held[name] = flat.reshape(batch, *shape)
        self._advance(held, inputs[:, None].to(self.dtype))
        return self._joined(held)

    def under(self, input: Float[Tensor, " width"]) -> Step:
        """The map of states while the mixer reads the same input over and over.

        Raises:
            InputError: an input of another width, or a mixer that reads the token's position, whose step is no map of
                the state alone.
        """
        if self._reads_clock:
            raise InputError(
                f"{self._adapter.place.capitalize()} ({self._adapter.family}) reads the position of each token, so a "
                "step under a constant input is no map of the state alone."
            )
        if input.shape != (self.width,):
            raise InputError(f"The mixer reads {self.width} numbers a token; the input has {[*input.shape]}.")
        constant = input.detach().to(self.dtype)

        def step(states: States) -> States:
            return self.step(states, constant.expand(len(states), -1))

        return step

    def under_token(self, token: int, settle: int = 64) -> Step:
        """The map of states while the model reads one token over and over.

        The layers before are taken where they have settled after `settle` copies of the token; in layer 0 nothing has
        to settle. Since layers feed forward, the spectrum of the whole stack at a joint fixed point is the union of the
        layers' own.

        Raises:
            InputError: the model has no such token.
        """
        token = whole_number("token", token)
        read = self.inputs(torch.full((1, max(1, settle)), token))
        return self.under(read[0, -1])

    @torch.no_grad()
    def inputs(self, input: ModelInput) -> Float[Tensor, "batch time width"]:
        """What the mixer reads of a text.

        Raises:
            InputError: sequences of different lengths.
        """
        hidden, handed = self._read(input)
        return torch.cat([hidden, *(handed[name].flatten(2).to(hidden) for name in self._handed)], dim=-1)

    def _read(self, input: ModelInput) -> tuple[Float[Tensor, "batch time model"], dict[str, Tensor]]:
        """What the mixer reads of the stream, and what earlier layers handed on by then."""
        tokens, mask = self._model.prepared(input, None)
        if mask is not None:
            raise InputError("States are followed along sequences of one length; give them unpadded.")
        seen: list[tuple[Tensor, dict[str, Tensor]]] = []

        def keep(tensor: Tensor, hook: HookPoint) -> None:
            handed = {name: value.detach().clone() for name, value in sorted(handed_so_far().items())}
            seen.append((tensor.detach().clone(), handed))

        name = f"blocks.{self._adapter.layer}.{self._adapter.part}.hook_in"
        self._model.run_with_hooks(
            tokens,
            fwd_hooks=[(name, keep)],
            return_type=None,
            stop_at_layer=min(self._adapter.layer + 1, self._model.cfg.n_layers),
        )
        return seen[0]

    @torch.no_grad()
    def trajectory(self, input: ModelInput) -> Float[Tensor, "batch time dim"]:
        """The state vector after each token of a text."""
        read = self.inputs(input).to(self.dtype)
        held: dict[str, Tensor] = {}
        along = []
        for step in range(read.shape[1]):
            self._advance(held, read[:, step : step + 1])
            along.append(self._joined(held))
        return torch.stack(along, dim=1)

    def part(self, name: str) -> slice:
        """Where a part of the state lies in the vector. Raises InputError, which lists the parts."""
        start = 0
        for known, shape in self.parts:
            stop = start + math.prod(shape)
            if known == name:
                return slice(start, stop)
            start = stop
        raise InputError(f"The state has no part {name!r}; it has {', '.join(known for known, _ in self.parts)}.")

    def _advance(self, held: dict[str, Tensor], inputs: Float[Tensor, "batch 1 width"]) -> None:
        """One token further; `held` is what the mixer remembers, a form's state in the form's own layout."""
        hidden, *handed = inputs.split([self._hidden, *map(math.prod, self._handed.values())], dim=-1)
        with forward_pass():
            for (name, shape), value in zip(self._handed.items(), handed, strict=True):
                hand_on(name, value.unflatten(-1, shape))
            inlet = self._adapter.read_in(hidden, None, DictMemory(held))
        if self._own_state:
            start = held.get("state")
            _, final = kernels.forward(inlet.form, None if start is None else start.to(inlet.form.v.dtype))
            assert final is not None  # the form is recurrent
            held["state"] = final

    def _joined(self, held: dict[str, Tensor]) -> States:
        """The parts end to end; a register that is not full yet has zeros where nothing came."""
        whole = []
        for name, shape in self.parts:
            value = held[name]
            if value.shape[1:] != shape:
                empty = value.new_zeros(len(value), shape[0] - value.shape[1], *shape[1:])
                value = torch.cat([empty, value], dim=1)
            whole.append(value.flatten(1))
        return torch.cat(whole, dim=1)

    def _differs(self, one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        """Whether a step from two memories ends in different states."""
        generator = torch.Generator().manual_seed(0)
        read = torch.randn(1, 1, self.width, generator=generator, dtype=torch.float64).to(
            next(iter(one.values())).device
        )
        ends = []
        for start in (one, other):
            held = dict(start)
            self._advance(held, read.to(self.dtype))
            ends.append(self._joined(held))
        return not torch.equal(*ends)

    def _split(self, states: States) -> tuple[Tensor, ...]:
        if states.shape[1] != self.dim:
            raise InputError(f"A state has {self.dim} numbers here, not {states.shape[1]}.")
        parts: tuple[Tensor, ...] = torch.split(states, [math.prod(shape) for _, shape in self.parts], dim=1)
        return parts


def _counts(now: Tensor, later: Tensor) -> bool:
    """Whether a part of a memory counts tokens: a whole number, or one more after a step."""
    return not now.is_floating_point() or bool(torch.equal(later - now, torch.ones_like(now)))
