"""Places the hook points of a model in its modules and takes them out again.

Module hooks are registered when the first listener of a point comes and removed when the last one leaves, so a forward
pass that nobody listens to runs the stock modules with nothing in between (the mixers excepted, whose adapters are
installed as long as the model is wrapped).
"""

from __future__ import annotations

import copy
import operator
import threading
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from torch import Tensor, nn

from workbench import aliases
from workbench.errors import HookEditError
from workbench.families.base import BlockLayout, PlacedMixer, Site
from workbench.families.layouts import ModelLayout
from workbench.families.softmax import IMPLEMENTATION, SoftmaxAdapter
from workbench.hooks import HookPoint, HookPoints

RESIDUAL = ("batch", "time", "d_model")
HIDDEN = ("batch", "time", "d_mlp")


class Instrument:
    """The hook points of one model.

    Attributes:
        points: every hook point by name, in the order of the forward pass.
        logits: the point that the caller shows the model's logits to.
    """

    def __init__(self, module: nn.Module, layout: ModelLayout) -> None:
        self._undo: list[Callable[[], None]] = []
        self.logits = HookPoint("hook_logits", ("batch", "time", "vocab"))
        points = [_placed("hook_embed", RESIDUAL, Site(layout.embed, output=True))]
        if layout.pos_embed is not None:
            points.append(_placed("hook_pos_embed", RESIDUAL, Site(layout.pos_embed, output=True)))
        for layer, block in enumerate(layout.blocks):
            points.extend(_block_points(layer, block))
        if layout.final_norm is not None:
            points.append(_placed("ln_final.hook_normalized", RESIDUAL, Site(layout.final_norm, output=True)))
        points.append(self.logits)
        names = [point.name for point in points]
        recurrent = [adapter.layer for adapter in layout.adapters if adapter.recurrent]
        self.points = HookPoints(points, aliases.expand(names, recurrent))
        if any(isinstance(adapter, SoftmaxAdapter) for adapter in layout.every_adapter):
            self._undo.append(_own_attention(module))
        for adapter in layout.every_adapter:
            self._undo.append(adapter.install())

    def remove(self) -> None:
        """Put the stock forwards back, last change first."""
        while self._undo:
            self._undo.pop()()


def _block_points(layer: int, block: BlockLayout) -> list[HookPoint]:
    def point(name: str, axes: tuple[str, ...]) -> HookPoint:
        return HookPoint(f"blocks.{layer}.{name}", axes)

    def part(index: int) -> str:
        return "mixer" if index == 0 else f"mixer{index}"

    def placed(name: str, axes: tuple[str, ...], site: Site) -> HookPoint:
        return _placed(f"blocks.{layer}.{name}", axes, site, block.block)

    resid_pre, middle = point("hook_resid_pre", RESIDUAL), point("hook_resid_mid", RESIDUAL)
    outs = [point(f"{part(index)}.hook_out", RESIDUAL) for index in range(len(block.mixers))]
    _place_residual(block, resid_pre, outs, middle)
    points = [resid_pre]
    for index, mixer in enumerate(block.mixers):
        points.append(placed(f"{part(index)}.hook_in", RESIDUAL, Site(mixer.adapter.module, output=False)))
        points.extend(mixer.adapter.points.values())
        points.append(outs[index])
    if block.sequential:
        points.append(middle)
    for name, axes, site in (
        ("mlp.hook_pre", HIDDEN, block.mlp_pre),
        ("mlp.hook_post", HIDDEN, block.mlp_post),
        ("hook_mlp_out", RESIDUAL, block.mlp_out),
    ):
        if site is not None:
            points.append(placed(name, axes, site))
    points.append(placed("hook_resid_post", RESIDUAL, Site(block.block, output=True)))
    return points


def _place_residual(block: BlockLayout, resid_pre: HookPoint, outs: list[HookPoint], middle: HookPoint) -> None:
    """Place the points of a block's first half, which depend on each other.

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
        tensor = _first(args, kwargs)
        if resid_pre.active:
            tensor = resid_pre(tensor.clone())
        if middle.active:
            thread = threading.get_ident()
            entered[thread], written[thread] = tensor, []
        return _with_first(args, kwargs, tensor)

    def at_output(mixer: PlacedMixer, out: HookPoint, module: nn.Module, args: Any, output: Any) -> Any:
        shown = _shown(out, output[0] if isinstance(output, tuple) else output, mixer.out.scale)
        if middle.active and mixer.writes:
            thread = threading.get_ident()
            written[thread].append(shown if mixer.out.scale == 1.0 else shown * mixer.out.scale)
            if len(written[thread]) == writers:
                fire_middle(thread, entered.pop(thread), reduce(operator.add, written.pop(thread)))
        return (shown, *output[1:]) if isinstance(output, tuple) else shown

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
        if block.mlp_out is not None:  # after the listeners of hook_mlp_out, and before those of hook_resid_post
            self._handles.append(block.mlp_out.module.register_forward_hook(self._at_mlp))
        self._handles.append(block.block.register_forward_hook(self._at_end, prepend=True))

    def remove(self) -> None:
        """Leave the modules as they were."""
        for handle in self._handles:
            handle.remove()

    def _at_reader(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read: Any = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
        if self._thread != threading.get_ident() or self._written is not None or not self._is_total(read):
            return None
        self._found = True
        return _with_first(args, kwargs, self._edited.reshape(read.shape))

    def _is_total(self, read: Any) -> bool:
        if not isinstance(read, Tensor) or read.numel() != self._total.numel() or read.dtype != self._total.dtype:
            return False
        if read.data_ptr() == self._mixed.data_ptr():  # a dropout before the sum, whose numbers may be NaN alike
            return False
        read = read.detach().reshape(self._total.shape)
        return bool(((read == self._total) | (read.isnan() & self._total.isnan())).all())

    def _at_mlp(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._thread == threading.get_ident():
            self._written = output[0] if isinstance(output, tuple) else output

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


def _shown(point: HookPoint, tensor: Tensor, scale: float) -> Tensor:
    """Show what a module writes times the factor it is added with; an edit comes back without the factor."""
    if scale == 1.0 or not point.active:
        return point(tensor)
    scaled = tensor * scale
    version = None if scaled.is_inference() else scaled._version
    edited = point(scaled)
    if edited is scaled and version is not None and version == scaled._version and not scaled.requires_grad:
        return tensor  # nobody changed it: not even by a rounding error
    return edited / scale


def _placed(name: str, axes: tuple[str, ...], site: Site, block: nn.Module | None = None) -> HookPoint:
    """A hook point on what a module reads or writes; `block` tells a flattened site its batch and time."""
    point = HookPoint(name, axes)
    shapes: dict[int, tuple[int, int]] = {}  # by thread, as in _place_residual

    def fired(tensor: Tensor) -> Tensor:
        if not site.flattened:
            return _shown(point, tensor, site.scale)
        return point(tensor.view(*shapes[threading.get_ident()], tensor.shape[-1])).reshape(tensor.shape)

    def at_block(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        batch, time = _first(args, kwargs).shape[:2]
        shapes[threading.get_ident()] = (batch, time)

    def at_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # A copy: others may read the same tensor (an MLP in parallel), and an edit in place is not for them.
        return _with_first(args, kwargs, fired(_first(args, kwargs).clone()))

    def at_output(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (fired(output[0]), *output[1:])
        return fired(output)

    def source() -> Callable[[], None]:
        handles = [
            site.module.register_forward_hook(at_output)
            if site.output
            else site.module.register_forward_pre_hook(at_input, with_kwargs=True)
        ]
        if site.flattened and block is not None:
            handles.append(block.register_forward_pre_hook(at_block, with_kwargs=True))

        def release() -> None:
            for handle in handles:
                handle.remove()

        return release

    point.source = source
    return point


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    tensor: Any = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    assert isinstance(tensor, Tensor)  # the layout was found by watching this very argument
    return tensor


def _with_first(args: tuple[Any, ...], kwargs: dict[str, Any], tensor: Tensor) -> Any:
    if args:
        return (tensor, *args[1:]), kwargs
    name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
    return args, {**kwargs, name: tensor}


def _own_attention(module: nn.Module) -> Callable[[], None]:
    """Give the model a configuration of its own that names our attention function; return what gives the old one back.

    Two models may have been built from one configuration object, and only this one is to be hooked.
    """
    owners: list[Any] = [part for part in module.modules() if hasattr(vars(part).get("config"), "_attn_implementation")]
    before = [part.config for part in owners]
    copies: dict[int, Any] = {}
    for part, config in zip(owners, before, strict=True):
        part.config = copy.deepcopy(config, copies)
        part.config._attn_implementation = IMPLEMENTATION

    def undo() -> None:
        for part, config in zip(owners, before, strict=True):
            part.config = config

    return undo
