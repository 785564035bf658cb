"""Beginning a forward pass at a later layer, with what entered that layer in an earlier pass.

The counterpart of `workbench.stopping`. The stock module runs as it is, embedding, masks and positions included, but
the blocks below give back what was recorded and compute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.memory import DictMemory
from workbench.residual import stream_read
from workbench.stopping import Stopped
from workbench.zoo.handing import hand_on, handed_so_far

if TYPE_CHECKING:
    from workbench.running import RunnableModel


@dataclass(frozen=True)
class Entered:
    """What entered a layer: all that the layers below leave for it and for those above it.

    Attributes:
        layer: the layer; the number of layers for what the final norm and the unembedding read.
        batch, time: of the pass that it was recorded in.
        output: what the block before returned: the residual stream, and whatever some families return with it.
        shared: dictionaries that blocks are called with and leave tensors in for later ones (shared keys and values),
            by the argument's name.
        handed: what zoo layers leave for later ones (RWKV-7's first values).
    """

    layer: int
    batch: int
    time: int
    output: Any
    shared: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    handed: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def rows(self, numbers: Sequence[int]) -> Entered:
        """The same for chosen rows of the batch, any of them several times; copies."""
        index = torch.tensor(list(numbers))

        def chosen(tensor: Tensor) -> Tensor:
            if not self._batched(tensor):
                return tensor
            return tensor.index_select(0, index.to(tensor.device))

        return replace(self._each(chosen), batch=len(numbers))

    def at(self, positions: Int[Tensor, "batch chosen"]) -> Entered:
        """The same for chosen positions of every row, for what treats each position by itself."""

        def chosen(tensor: Tensor) -> Tensor:
            if not self._batched(tensor) or tensor.dim() < 2 or tensor.shape[1] != self.time:
                return tensor
            rows = torch.arange(self.batch, device=tensor.device)[:, None]
            return tensor[rows, positions.to(tensor.device)]

        return replace(self._each(chosen), time=positions.shape[1])

    def since(self, first: int) -> Entered:
        """The same for the positions from `first` on; what is no sequence of positions stays whole."""

        def chosen(tensor: Tensor) -> Tensor:
            sequence = tensor.dim() >= 2 and tensor.shape[1] == self.time
            return tensor[:, first:] if self._batched(tensor) and sequence else tensor

        return replace(self._each(chosen), time=self.time - first)

    @classmethod
    def joined(cls, several: Sequence[Entered]) -> Entered:
        """Those of several passes as one batch.

        Raises:
            InputError: they are of different layers or lengths, or hold something without a batch axis that differs.
        """
        first = several[0]
        if any((one.layer, one.time) != (first.layer, first.time) for one in several):
            raise InputError("What entered different layers, or texts of different lengths, makes no batch.")
        if len(several) == 1:
            return first
        leaves = [one._tensors() for one in several]
        if len({len(found) for found in leaves}) > 1:
            raise InputError("The layers below leave other things for one text than for another.")
        columns = iter(list(zip(*leaves, strict=True)))

        def together(tensor: Tensor) -> Tensor:
            column = next(columns)
            if all(one._batched(part) for one, part in zip(several, column, strict=True)):
                return torch.cat(column)
            if any(not torch.equal(part, column[0]) for part in column):
                raise InputError("The layers below leave tensors without a batch axis, which differ between texts.")
            return tensor

        return replace(first._each(together), batch=sum(one.batch for one in several))

    def _batched(self, tensor: Tensor) -> bool:
        return tensor.dim() > 0 and tensor.shape[0] == self.batch

    def _tensors(self) -> list[Tensor]:
        """Every tensor, in the order that `_each` comes to them."""
        found: list[Tensor] = []

        def note(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        self._each(note)
        return found

    def _each(self, change: Callable[[Tensor], Tensor]) -> Entered:
        return replace(
            self,
            output=_mapped(self.output, change),
            shared=_mapped(self.shared, change),
            handed=_mapped(self.handed, change),
        )


@contextmanager
def recording(
    model: RunnableModel, layers: Sequence[int], into: MutableMapping[int, Entered], stop: bool = False
) -> Iterator[None]:
    """Keep what enters layers in the passes inside a ``with`` block, edits in force included.

    Args:
        layers: numbers from 1 to the number of layers.
        into: gets the latest pass's, by layer.
        stop: end a pass where the last of them would begin (`workbench.stopping.Stopped`, which the model catches).

    Raises:
        InputError: layer 0, which nothing enters but the embedding, or one that there is not; at the pass, blocks that
            leave states with the model besides (the layers of one ``nn.LSTM``).
    """
    blocks = [block.block for block in model.layout.blocks]
    for layer in layers:
        if not 1 <= layer <= len(blocks):
            raise InputError(f"What enters layer {layer} cannot be kept; layers go from 1 to {len(blocks)} here.")

    def keeper(layer: int) -> Callable[..., None]:
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            stream = _first_tensor(output)
            if any(isinstance(value, DictMemory) for value in (*args, *kwargs.values())):
                raise InputError(
                    f"The layers of {model.cfg.model_name} leave their states with the model, which reads them at the "
                    "end, so none can be left out."
                )
            shared = {name: dict(value) for name, value in kwargs.items() if isinstance(value, MutableMapping)}
            seen = Entered(layer, stream.shape[0], stream.shape[1], output, shared, handed_so_far())
            # Copies: later layers may add to the stream in place.
            into[layer] = seen._each(lambda tensor: tensor.detach().clone())
            if stop and layer == max(layers):
                raise Stopped

        return keep

    with ExitStack() as stack:
        for layer in layers:
            handle = blocks[layer - 1].register_forward_hook(keeper(layer), with_kwargs=True)
            stack.callback(handle.remove)
        yield


@contextmanager
def restarting(model: RunnableModel, entered: Entered) -> Iterator[None]:
    """Let passes inside a ``with`` block begin at a layer. They have to be of as many rows and tokens.

    Raises:
        InputError: somebody listens at a hook below the layer, which would not fire; at the pass, other numbers of
            rows or tokens.
    """
    layouts = model.layout.blocks
    below, above = layouts[: entered.layer], layouts[entered.layer :]
    _refuse_listeners(model, entered.layer)
    if {layout.block for layout in below} & {layout.block for layout in above}:
        raise InputError(f"{model.cfg.model_name} uses one block as several layers, so none can be left out.")

    def replayed(last: bool) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            stream = stream_read(args, kwargs)
            if tuple(stream.shape[:2]) != (entered.batch, entered.time):
                raise InputError(
                    f"What entered layer {entered.layer} is of {entered.batch} x {entered.time} tokens, and the pass "
                    f"of {' x '.join(map(str, stream.shape[:2]))}."
                )
            if not last:
                return entered.output
            for name, value in entered.handed.items():
                hand_on(name, value)
            for name, values in entered.shared.items():
                for key, value in values.items():
                    kwargs[name].setdefault(key, value)
            # Fresh tensors, since layers above may write in place what they are given.
            return _mapped(entered.output, torch.clone)

        return forward

    with ExitStack() as stack:
        for layout in below:
            stack.callback(_put_back, layout.block, "forward", vars(layout.block).get("forward"))
            vars(layout.block)["forward"] = replayed(layout.layer == entered.layer - 1)
        yield


def _put_back(module: nn.Module, name: str, value: Any) -> None:
    if value is None:
        del vars(module)[name]
    else:
        vars(module)[name] = value


def lowest_layer(names: Sequence[str], n_layers: int) -> int:
    """The lowest layer that canonical hook names belong to: 0 for the embeddings, `n_layers` for the final norm."""
    return min((_layer_of(name, n_layers) for name in names), default=n_layers)


def _layer_of(name: str, n_layers: int) -> int:
    parts = name.split(".")
    if parts[0] == "blocks":
        return int(parts[1])
    return 0 if name in ("hook_embed", "hook_pos_embed") else n_layers


def _refuse_listeners(model: RunnableModel, layer: int) -> None:
    n_layers = model.cfg.n_layers
    for name, point in model.points.items():
        if point.active and _layer_of(name, n_layers) < layer:
            raise InputError(f"{name} does not fire in a pass that begins at layer {layer}; begin below it.")


def _first_tensor(output: Any) -> Tensor:
    first = output[0] if isinstance(output, tuple) else output
    if not isinstance(first, Tensor) or first.dim() < 2:
        raise InputError("A block returns something other than a residual stream, so nothing can begin after it.")
    return first


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Tuples, lists and dictionaries with every tensor in them changed; other things as they are."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_mapped(part, change) for part in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_mapped(part, change) for part in tree)
    if isinstance(tree, Mapping):
        return {name: _mapped(part, change) for name, part in tree.items()}
    return tree
