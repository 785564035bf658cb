"""Fixing: a gate, a decay or any other operand held at a value, whatever the model computes for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.base import Intervention
from workbench.interventions.positions import Positions, When
from workbench.interventions.selection import Selection, selections
from workbench.model import HookedModel
from workbench.sites import SiteLike
from workbench.wrapping import ModelInput


class Fix(Intervention):
    """Hold what passes at a hook at a value: ``hook_log_decay`` at 0, and nothing is forgotten.

    What removing a gate does, without training again (Greff et al. 2017, "LSTM: A Search Space Odyssey",
    arXiv:1503.04069, section 3, trains each variant anew). A forget gate fixed at ``f`` is a ``hook_log_decay`` fixed
    at ``log f``. Where gates read the hidden state (LSTM, GRU), the run is taken step by step, so that all later gates
    see what the fixed one did; an output gate (``hook_gate``) changes what the layer hands upwards alone.

    Args:
        at: sites or hook names.
        value: a number, or a tensor that broadcasts to the hook's.
        positions: tokens; all by default.
        heads: numbers of heads (or groups), for hook names.
        units: numbers along the last axis, for hook names.

    Raises:
        InputError: the value is NaN.
    """

    def __init__(
        self,
        at: SiteLike | Iterable[SiteLike],
        value: float | Tensor,
        *,
        positions: Positions = None,
        heads: Sequence[int] | int | None = None,
        units: Sequence[int] | int | None = None,
    ) -> None:
        self.at, self.heads, self.units = at, heads, units
        self.value = torch.as_tensor(value)
        self.when = When.of(positions)
        if bool(self.value.isnan().any()):
            raise InputError("NaN is no value to fix an operand at.")

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks that fix; see `Intervention.hooks`. Steps of a state that count from the end need `tokens`."""
        time = None if tokens is None else model.prepared(tokens, attention_mask)[0].shape[1]
        chosen = selections(model, self.at, self.heads, self.units, self.when)
        states = dict.fromkeys(state for one in chosen if (state := state_that_gates_read(model, one.name)) is not None)
        return [*(self._hook(model, one, time) for one in chosen), *((name, look) for name in states)]

    def _hook(self, model: HookedModel, selection: Selection, time: int | None) -> tuple[str, HookFunction]:
        def change(tensor: Tensor, hook: HookPoint) -> Tensor:
            try:
                return self.value.to(tensor).expand_as(tensor)
            except RuntimeError:
                raise InputError(
                    f"{hook.name} is {[*tensor.shape]}, and a value of shape {[*self.value.shape]} does not fit."
                ) from None

        return selection.hook(model, change, time)


def look(state: Tensor, hook: HookPoint) -> None:
    """Listen to the state: a cell whose gates read it then takes every step by itself, with edits in force."""


def state_that_gates_read(model: HookedModel, name: str) -> str | None:
    """The state hook of the mixer that a hook belongs to, if that mixer's gates read its own hidden state."""
    for adapter in model.mixers:
        if name not in (point.name for point in adapter.points.values()) or "hook_state" not in adapter.points:
            continue
        token = torch.zeros(1, 1, dtype=torch.long)
        form = model.mixer_form(token, adapter.layer, mixer=adapter.index)
        return adapter.points["hook_state"].name if form.conditional else None
    return None
