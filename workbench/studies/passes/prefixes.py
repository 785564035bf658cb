"""Edits that touch a text from some position on: what comes before is read once and remembered.

Keys and values, recurrent states and convolution inputs before that position are a model's memory
(`workbench.states.ModelState`), hybrids' both at once. An edited pass goes on from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.states import ModelState
from workbench.steps import AtSteps
from workbench.studies.edits.binding import resolved
from workbench.studies.edits.edit import Edit
from workbench.studies.inputs.prompt import Prompt

LEAST = 16
"""Tokens before the first edited position from which on a memory is worth having; and half of the text."""


def first_position(edits: Iterable[tuple[Edit, Prompt]]) -> int:
    """The first position that any of the edits touches; 0 where that is not worth a memory of what comes before."""
    first = min(_first(edit, prompt) for edit, prompt in edits)
    time = min(len(prompt.tokens) for _, prompt in edits)
    return first if first >= max(LEAST, time / 2) else 0


def _first(edit: Edit, prompt: Prompt) -> int:
    positions = resolved(edit.positions, prompt)
    return 0 if positions is None else positions[0]


class Prefixes:
    """Memories of beginnings of prompts; the least recently used goes first."""

    def __init__(self, model: HookedModel, budget: int) -> None:
        self._model = model
        self._budget = budget
        self._kept: OrderedDict[tuple[int, ...], ModelState] = OrderedDict()

    def state(self, prompt: Prompt, first: int) -> ModelState:
        """What the unedited model remembers of a prompt's tokens before `first`.

        Raises:
            InputError: the model keeps nothing between calls.
        """
        key = prompt.tokens[:first]
        if key not in self._kept:
            with self._model.points.silenced():
                tokens = torch.tensor([key], device=self._model.cfg.device)
                self._kept[key] = self._model.prefill(tokens)
        self._kept.move_to_end(key)
        total = sum(state.nbytes for state in self._kept.values())
        while total > self._budget and len(self._kept) > 1:
            total -= self._kept.popitem(last=False)[1].nbytes
        return self._kept[key]


def going_on_at(
    model: HookedModel, hooks: Sequence[tuple[str, HookFunction]], first: int
) -> list[tuple[str, HookFunction]]:
    """Hooks that were written for whole texts, for passes over what follows position `first`.

    They are shown tensors of the whole length, with zeros before, as if the text were read at once; what they do there
    is left out. Keys and values of softmax layers are whole anyway, and a state is shown step by step.
    """
    return [
        (name, function if isinstance(function, AtSteps) else _whole(model, function, first))
        for pattern, function in hooks
        for name in model.points.select(pattern)
    ]


def _whole(model: HookedModel, function: HookFunction, first: int) -> HookFunction:
    def shown(tensor: Tensor, hook: HookPoint) -> Tensor | None:
        if "time" not in hook.axes:
            return _as_if_whole(model, function, tensor, hook)
        axis = hook.axes.index("time")
        before = tensor.new_zeros([*tensor.shape[:axis], first, *tensor.shape[axis + 1 :]])
        edited = _as_if_whole(model, function, torch.cat([before, tensor], dim=axis), hook)
        return None if edited is None else edited.narrow(axis, first, tensor.shape[axis])

    return shown


def _as_if_whole(model: HookedModel, function: HookFunction, tensor: Tensor, hook: HookPoint) -> Tensor | None:
    past = model.past
    if hook.step is None:
        model.past = 0
    try:
        edited: Tensor | None = function(tensor, hook)
        return edited
    finally:
        model.past = past
