"""What unedited passes leave behind for edited ones: what enters every layer, prompt by prompt, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

import torch

from workbench.model import HookedModel
from workbench.restarting import Entered, recording
from workbench.studies.inputs.prompt import Prompt

LEAST_BYTES = 32 * 2**20


def budget_of(model: HookedModel) -> int:
    """Bytes for what is kept of unedited passes: a quarter of the weights, so that a chunk stays far below twice them.

    A small model's few megabytes are not worth saving.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.wrapped.parameters())
    return max(LEAST_BYTES, weights // 4)


class References:
    """What entered the layers of a model when it read prompts, each alone; the least recently used goes first."""

    def __init__(self, model: HookedModel, budget: int) -> None:
        """`budget`: bytes, of all prompts together (but one prompt's layer at least is always kept)."""
        self._model = model
        self._budget = budget
        self._kept: OrderedDict[tuple[int, ...], dict[int, Entered]] = OrderedDict()

    def entered(self, prompt: Prompt, layer: int) -> Entered:
        """What entered a layer, from 1 to the number of layers, when the model read a prompt."""
        key = prompt.tokens
        if layer not in self._kept.get(key, {}):
            self._kept[key] = self._recorded(prompt, layer)
        self._kept.move_to_end(key)
        total = sum(one.nbytes for layers in self._kept.values() for one in layers.values())
        while total > self._budget and len(self._kept) > 1:
            total -= sum(one.nbytes for one in self._kept.popitem(last=False)[1].values())
        return self._kept[key][layer]

    def _recorded(self, prompt: Prompt, layer: int) -> dict[int, Entered]:
        """Every layer, from one pass; of a prompt that is too long for that, the one layer that is asked for."""
        n_layers = self._model.cfg.n_layers
        found: dict[int, Entered] = {}
        tokens = torch.tensor([prompt.tokens], device=self._model.cfg.device)
        dtype = self._model.cfg.dtype
        stream = tokens.shape[1] * self._model.cfg.d_model * torch.empty(0, dtype=dtype).element_size()
        wanted = range(1, n_layers + 1) if stream * n_layers <= self._budget // 2 else (layer,)
        with torch.no_grad(), self._model.points.silenced(), recording(self._model, list(wanted), found, stop=True):
            self._model(tokens, return_type=None)
        return found
