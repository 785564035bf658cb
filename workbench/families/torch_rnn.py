"""A user's own `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN`: one layer in a block, or a stack of layers.

What is exact about their forms, and what an edit reaches, is told in `workbench.cells.base`. A layer inside a residual
block is served in its place. Where the recurrent module itself is the model's depth (an embedding, ``nn.LSTM`` with
some layers, a head), each of its layers becomes a block with hooks of its own: see `workbench.families.stacks`.

Hidden states that the model carries between calls (``hx``) hold the states as hooks left them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from workbench.cells import Cell, ElmanCell, GRUCell, LSTMCell, Weights
from workbench.errors import InputError, UnsupportedFamilyError
from workbench.families.base import register
from workbench.families.recurrent import RecurrentAdapter
from workbench.memory import DictMemory, Memory, NoMemory
from workbench.mixing import Inlet, Outlet, Values

Stacked = Float[Tensor, "layers batch hidden"]
Run = Callable[[Float[Tensor, "batch time inputs"], Memory], Float[Tensor, "batch time hidden"]]


class RNNLayer(nn.Module):
    """One layer of a recurrent module, so that hooks have a module to sit on; it is not in the model's module tree.

    Attributes:
        owner: the module that holds the weights.
        index: which of its layers this is.
    """

    def __init__(self, owner: nn.RNNBase, index: int) -> None:
        super().__init__()
        self.owner = owner
        self.index = index


@register
class TorchRNNAdapter(RecurrentAdapter):
    """One layer of a torch recurrence.

    Attributes:
        depth: which of the layers of its module it is.

    Raises:
        UnsupportedFamilyError: it reads the text backwards, too, or a block holds several layers in one module.
    """

    family: str = "torch_rnn"
    mixer_classes: ClassVar[tuple[str, ...]] = ()
    operands: tuple[str, ...] = ("v", "log_decay", "write")
    log_decay_axes: tuple[str, ...] = ("batch", "time", "head", "key")
    opened: tuple[str, ...] = ("state", "cell")

    def __init__(self, module: nn.Module, layer: int) -> None:
        owner, self.depth = (module.owner, module.index) if isinstance(module, RNNLayer) else (module, 0)
        assert isinstance(owner, nn.RNNBase)
        self.owner: nn.RNNBase = owner
        name = type(owner).__name__
        if owner.bidirectional:
            raise UnsupportedFamilyError(
                f"Layer {layer} is a {name} with bidirectional=True, which reads later tokens; a causal one is needed."
            )
        if owner.num_layers > 1 and not isinstance(module, RNNLayer):
            raise UnsupportedFamilyError(
                f"The block of layer {layer} holds a {name} with num_layers={owner.num_layers}; "
                "inside a residual block one layer is served."
            )
        self.family = owner.mode.split("_")[0].lower()  # LSTM, GRU, RNN_TANH, RNN_RELU
        self.gated = isinstance(owner, nn.LSTM)
        if self.family == "rnn":
            self.operands = ("v", "write")  # the state decays to nothing at each step, and so would any edit of that
        super().__init__(module, layer)

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Any of torch's three, and classes made of them."""
        return isinstance(module, nn.RNNBase | RNNLayer)

    @property
    def n_heads(self) -> int:
        """Hidden units: each decays at a rate of its own."""
        return self.owner.hidden_size

    @property
    def d_value(self) -> int:
        """A unit carries one value."""
        return 1

    def cell(self, dtype: torch.dtype) -> Cell:
        """The layer's cell with the weights as they are now, for inputs of that dtype."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        weights = Weights(*(getattr(self.owner, f"{name}_l{self.depth}", None) for name in names))  # type: ignore[arg-type]
        if isinstance(self.owner, nn.LSTM):
            return LSTMCell(weights, dtype)
        if isinstance(self.owner, nn.GRU):
            return GRUCell(weights, dtype)
        return ElmanCell(weights, dtype, activation="relu" if self.owner.mode == "RNN_RELU" else "tanh")

    def read_in(
        self,
        hidden: Float[Tensor, "batch time model"],
        mask: Float[Tensor, "batch time 1"] | None,
        memory: Memory,
        positions: Tensor | None = None,
    ) -> Inlet:
        return self.cell(hidden.dtype).inlet(hidden, mask, memory)

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        return self.cell(z.dtype).outlet(z)

    def project_out(self, flat: Float[Tensor, "batch time inner"]) -> Float[Tensor, "batch time model"]:
        cell = self.cell(flat.dtype)
        return cell.hand_on(flat.to(cell.dtype)).to(flat.dtype)

    def forward(self, input: Any, hx: Any = None, **ignored: Any) -> Any:  # type: ignore[override]  # torch's own
        """Stand in for the module's forward: outputs and the last hidden state, in the layout the module has."""
        return run_layers(self.owner, [self.mix], input, hx)


class RNNLayerAdapter(TorchRNNAdapter):
    """One layer of a stack, which the stack calls with tensors that have the batch first."""

    def forward(  # type: ignore[override]  # called by `run_layers`
        self, inputs: Float[Tensor, "batch time inputs"], memory: Memory | None = None
    ) -> Float[Tensor, "batch time hidden"]:
        """What the layer makes of its input."""
        return self.mix(inputs, NoMemory() if memory is None else memory)


def run_layers(owner: nn.RNNBase, layers: Sequence[Run], input: Any, hx: Any) -> tuple[Tensor, Any]:
    """Call the layers of a recurrent module in order and return what the module itself would.

    Raises:
        InputError: the sequence is packed.
    """
    if isinstance(input, PackedSequence):
        raise InputError(
            f"{type(owner).__name__} was given a packed sequence; the hooked model needs a padded batch (pad on the "
            "right and ignore what follows a text's end)."
        )
    single = input.dim() == 2
    x = input[None] if single else input if owner.batch_first else input.transpose(0, 1)
    memories = _memories(owner, hx, single)
    for index, (layer, memory) in enumerate(zip(layers, memories, strict=True)):
        x = layer(x, memory)
        if index < len(layers) - 1:
            x = F.dropout(x, owner.dropout, owner.training)
    states = torch.stack([_kept(memory, "state")[..., 0, 0] for memory in memories]).to(x.dtype)
    hidden = states
    if isinstance(owner, nn.LSTM):
        hidden = torch.stack([_kept(memory, "hidden") for memory in memories]).to(x.dtype)
    if single:
        x, hidden, states = x[0], hidden[:, 0], states[:, 0]
    elif not owner.batch_first:
        x = x.transpose(0, 1)
    return x, (hidden, states) if isinstance(owner, nn.LSTM) else hidden


def _memories(owner: nn.RNNBase, hx: Any, single: bool) -> list[DictMemory]:
    if hx is None:
        return [DictMemory({}) for _ in range(owner.num_layers)]
    parts: tuple[Stacked, ...] = hx if isinstance(owner, nn.LSTM) else (hx, hx)
    hidden, state = (part[:, None] if single else part for part in parts)
    cells = state[..., None, None]
    return [
        DictMemory({"hidden": hidden[index], "cell": cells[index], "state": cells[index]})
        for index in range(owner.num_layers)
    ]


def _kept(memory: Memory, name: str) -> Tensor:
    kept = memory.get(name)
    assert kept is not None  # every layer that ran left its state
    return kept
