"""The residual stream inside a block, where no module owns it: between the mixers and the MLP."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from torch import Tensor, nn

from workbench.errors import HookEditError
from workbench.families.base import BlockLayout, PlacedMixer
from workbench.families.calling import running_layer
from workbench.families.tracing import tensor_read, with_read
from workbench.hooks import HookPoint


def place_residual(
    block: BlockLayout, resid_pre: HookPoint, outs: list[HookPoint], middle: HookPoint, shared: set[nn.Module]
) -> None:
    """Place the points of a block's first half, which depend on each other; `shared` modules serve other blocks, too.

    No module owns the stream between mixers and MLP: the block has already kept a reference to it for the second sum
    when the MLP's norm reads it, so an edit of what the norm reads would miss half of its effect. The point is
    therefore fired on the input and what the mixers wrote where the last of them writes, and an edit is put in by
    `_Replacement`.
    """
    replacements: dict[int, _Replacement] = {}
    entered: dict[int, Tensor] = {}  # by thread: a run may be paused halfway while another one passes here
    written: dict[int, list[Tensor]] = {}
    writers = sum(mixer.writes for mixer in block.mixers)

    def at_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = stream_read(args, kwargs)
        if resid_pre.active:
            tensor = resid_pre(tensor.clone())
        if middle.active:
            thread = threading.get_ident()
            entered[thread], written[thread] = tensor, []
        return with_read(args, kwargs, tensor)

    def at_output(mixer: PlacedMixer, out: HookPoint, module: nn.Module, args: Any, output: Any) -> Any:
        if mixer.out.module in shared and running_layer() != block.layer:
            return None
        added = shown(out, output[0] if isinstance(output, tuple) else output, mixer.out.scale)
        if middle.active and mixer.writes:
            thread = threading.get_ident()
            written[thread].append(added if mixer.out.scale == 1.0 else added * mixer.out.scale)
            if len(written[thread]) == writers:
                fire_middle(thread, entered.pop(thread), reduce(operator.add, written.pop(thread)))
        return (added, *output[1:]) if isinstance(output, tuple) else added

    def fire_middle(thread: int, stream: Tensor, mixed: Tensor) -> None:
        total = stream + mixed
        version = None if total.is_inference() else total._version
        edited = middle(total)
        changed = edited is not total or version is None or version != total._version
        if changed or edited.requires_grad:  # a gradient asked for at the point has to pass through it
            if thread in replacements:
                replacements[thread].remove()
            replacements[thread] = _Replacement(block, stream, mixed, edited, middle.name, changed)

    def place_input() -> Callable[[], None]:
        handle = block.block.register_forward_pre_hook(at_input, with_kwargs=True)
        return handle.remove

    def place_output(mixer: PlacedMixer, out: HookPoint) -> Callable[[], None]:
        return mixer.out.module.register_forward_hook(partial(at_output, mixer, out)).remove

    shared_input = _shared(place_input)
    shared_outputs = [_shared(partial(place_output, mixer, out)) for mixer, out in zip(block.mixers, outs, strict=True)]

    def place_middle() -> Callable[[], None]:
        releases = [place() for place in (shared_input, *shared_outputs)]

        def release() -> None:
            for undo in releases:
                undo()
            while replacements:  # of runs that an error or a stop ended halfway
                replacements.popitem()[1].remove()

        return release

    resid_pre.source, middle.source = shared_input, place_middle
    for out, placed_output in zip(outs, shared_outputs, strict=True):
        out.source = placed_output


class _Replacement:
    """Another tensor in the place of the sum that a block makes of its input and its mixer's output, for one pass.

    What reads the sum inside the block is told by the sum's numbers, bit for bit, and reads the other tensor; the
    block's output becomes the other tensor plus what the MLP wrote. So nothing of the sum is left, not even a rounding
    error of it, and an infinite stream can be replaced by a finite one.
    """

    def __init__(
        self, block: BlockLayout, stream: Tensor, mixed: Tensor, edited: Tensor, name: str, must: bool
    ) -> None:
        """Take the place of ``stream + mixed``; `must`: whether `edited` is other numbers, not to be lost."""
        self._thread = threading.get_ident()
        self._mixed, self._total, self._edited = mixed, (stream + mixed).detach(), edited
        self._name, self._must = name, must
        self._scale = 1.0 if block.mlp_out is None else block.mlp_out.scale
        self._found = False
        self._written: Tensor | None = None
        mixer = {part for placed in block.mixers for part in placed.adapter.module.modules()} | {block.block}
        self._handles = [
            part.register_forward_pre_hook(self._at_reader, with_kwargs=True)
            for part in block.block.modules()
            if part not in mixer
        ]
        mlp = () if block.mlp_out is None else (*block.mlp_out.also, block.mlp_out.module)
        self._writing = len(mlp)
        for part in mlp:  # after the listeners of hook_mlp_out, and before those of hook_resid_post
            self._handles.append(part.register_forward_hook(self._at_mlp))
        self._handles.append(block.block.register_forward_hook(self._at_end, prepend=True))

    def remove(self) -> None:
        """Leave the modules as they were."""
        for handle in self._handles:
            handle.remove()

    def _at_reader(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = tensor_read(args, kwargs)
        if read is None or self._thread != threading.get_ident() or not self._writing or not self._is_total(read):
            return None
        self._found = True
        return with_read(args, kwargs, self._edited.reshape(read.shape))

    def _is_total(self, read: Tensor) -> bool:
        if read.numel() != self._total.numel() or read.dtype != self._total.dtype:
            return False
        if read.data_ptr() == self._mixed.data_ptr():  # a dropout before the sum, whose numbers may be NaN alike
            return False
        read = read.detach().reshape(self._total.shape)
        return bool(((read == self._total) | (read.isnan() & self._total.isnan())).all())

    def _at_mlp(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._thread == threading.get_ident():
            written = output[0] if isinstance(output, tuple) else output
            self._written = written if self._written is None else self._written + written
            self._writing -= 1

    def _at_end(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self._thread != threading.get_ident():
            return None
        self.remove()
        if not self._found or self._written is None:
            if self._must:
                raise HookEditError(
                    f"{self._name} cannot be edited in {type(module).__name__}: no module of it reads the sum of its "
                    "input and its mixer's output as it is; edit mixer.hook_out or hook_resid_post."
                )
            return None
        after = self._edited + self._written.reshape(self._edited.shape) * self._scale
        return (after, *output[1:]) if isinstance(output, tuple) else after


def _shared(place: Callable[[], Callable[[], None]]) -> Callable[[], Callable[[], None]]:
    """A module hook that several points need: placed for the first of them, removed with the last."""
    users = 0
    remove: Callable[[], None] | None = None

    def acquire() -> Callable[[], None]:
        nonlocal users, remove
        if users == 0:
            remove = place()
        users += 1
        return release

    def release() -> None:
        nonlocal users
        users -= 1
        if users == 0 and remove is not None:
            remove()

    return acquire


def shown(point: HookPoint, tensor: Tensor, scale: float, before: Tensor | None = None) -> Tensor:
    """Show what is added to the stream, ``scale (before + tensor)``; an edit comes back in terms of `tensor`."""
    if not point.active or (scale == 1.0 and before is None):
        return point(tensor)
    added = tensor if before is None else before + tensor
    added = added if scale == 1.0 else added * scale
    version = None if added.is_inference() else added._version
    edited = point(added)
    if edited is added and version is not None and version == added._version and not added.requires_grad:
        return tensor  # nobody changed it: not even by a rounding error
    written = edited if scale == 1.0 else edited / scale
    return written if before is None else written - before


def stream_read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The tensor that a block or a part of it was called with."""
    tensor = tensor_read(args, kwargs)
    assert tensor is not None  # the layout was found by watching this very argument
    return tensor
