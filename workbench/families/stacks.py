"""Models whose depth is a stack of recurrent layers in one module: an embedding, ``nn.LSTM(num_layers=3)``, a head.

There is no block and no residual stream: each layer reads what the layer before wrote. The layers are given names as
blocks all the same; ``hook_resid_pre`` and ``hook_resid_post`` are then what a layer reads and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import nn

from workbench.families.base import BlockLayout, PlacedMixer, Site
from workbench.families.torch_rnn import RNNLayer, RNNLayerAdapter, run_layers


class StackedLayerAdapter(RNNLayerAdapter):
    """A layer whose owner calls it, once `install` has routed the owner's forward through its layers.

    Attributes:
        stack: all layers of the owner, in order; the first one's `install` routes it.
    """

    def __init__(self, module: nn.Module, layer: int, stack: Sequence[RNNLayer]) -> None:
        super().__init__(module, layer)
        self.stack = stack

    def install(self) -> Callable[[], None]:
        undo = super().install()
        if self.depth > 0:
            return undo
        owner: Any = self.owner
        owner.forward = partial(_forward, owner, self.stack)

        def undo_both() -> None:
            del owner.forward
            undo()

        return undo_both


def find_stacks(model: nn.Module) -> list[nn.RNNBase]:
    """The recurrent modules of a model, in the order in which they were defined."""
    return [module for module in model.modules() if isinstance(module, nn.RNNBase)]


def stack_blocks(stacks: Iterable[nn.RNNBase]) -> list[BlockLayout]:
    """A block for every layer of the stacks, in the order in which they are called.

    Raises:
        UnsupportedFamilyError: a stack reads the text backwards, too.
    """
    blocks: list[BlockLayout] = []
    for owner in stacks:
        layers = [RNNLayer(owner, index) for index in range(owner.num_layers)]
        for layer in layers:
            adapter = StackedLayerAdapter(layer, len(blocks), layers)
            placed = PlacedMixer(adapter, Site(layer, output=True))
            blocks.append(BlockLayout(layer, len(blocks), (placed,), additive=False))
    return blocks


def _forward(owner: nn.RNNBase, stack: Sequence[RNNLayer], input: Any, hx: Any = None) -> Any:
    return run_layers(owner, stack, input, hx)
