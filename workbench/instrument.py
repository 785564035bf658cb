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
from functools import reduce
from typing import Any

from torch import Tensor, nn

from workbench import aliases
from workbench.errors import UnsupportedFamilyError
from workbench.families.base import BlockLayout, MixerAdapter, Site
from workbench.families.calling import running_layer, watch
from workbench.families.layouts import ModelLayout
from workbench.families.softmax import IMPLEMENTATION, SoftmaxAdapter
from workbench.families.tracing import with_read
from workbench.hooks import HookPoint, HookPoints
from workbench.residual import place_residual, shown, stream_read

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
        shared = _shared_mixers(layout)
        for layer, block in enumerate(layout.blocks):
            points.extend(_block_points(layer, block, shared))
        if layout.final_norm is not None:
            points.append(_placed("ln_final.hook_normalized", RESIDUAL, Site(layout.final_norm, output=True)))
        points.append(self.logits)
        names = [point.name for point in points]
        recurrent = [adapter.layer for adapter in layout.adapters if adapter.recurrent]
        beside = {
            adapter.layer: adapter.part
            for adapter in layout.every_adapter
            if adapter.index and isinstance(adapter, SoftmaxAdapter)
        }
        self.points = HookPoints(points, aliases.expand(names, recurrent, beside))
        if any(isinstance(adapter, SoftmaxAdapter) for adapter in layout.every_adapter):
            self._undo.append(_own_attention(module))
        if shared:
            self._undo.append(watch((block.layer, block.block) for block in layout.blocks))
        for adapter in layout.every_adapter:
            self._undo.append(adapter.install())

    def remove(self) -> None:
        """Put the stock forwards back, last change first."""
        while self._undo:
            self._undo.pop()()


def _shared_mixers(layout: ModelLayout) -> set[nn.Module]:
    """Mixer modules that several blocks call. Raises UnsupportedFamilyError where one is recurrent."""
    layers: dict[nn.Module, list[MixerAdapter]] = {}
    for adapter in layout.every_adapter:
        layers.setdefault(adapter.module, []).append(adapter)
    shared = {module: adapters for module, adapters in layers.items() if len(adapters) > 1}
    for module, adapters in shared.items():
        if adapters[0].recurrent:
            raise UnsupportedFamilyError(
                f"Layers {' and '.join(str(adapter.layer) for adapter in adapters)} share one recurrent mixer "
                f"({type(module).__name__}), which is not supported."
            )
    return set(shared)


def _block_points(layer: int, block: BlockLayout, shared: set[nn.Module]) -> list[HookPoint]:
    def point(name: str, axes: tuple[str, ...]) -> HookPoint:
        return HookPoint(f"blocks.{layer}.{name}", axes)

    def placed(name: str, axes: tuple[str, ...], site: Site) -> HookPoint:
        return _placed(f"blocks.{layer}.{name}", axes, site, block.block)

    resid_pre, middle = point("hook_resid_pre", RESIDUAL), point("hook_resid_mid", RESIDUAL)
    outs = [point(f"{mixer.adapter.part}.hook_out", RESIDUAL) for mixer in block.mixers]
    place_residual(block, resid_pre, outs, middle, shared)
    points = [resid_pre]
    for mixer, out in zip(block.mixers, outs, strict=True):
        read = Site(mixer.adapter.module, output=False)
        only = layer if mixer.adapter.module in shared else None
        points.append(_placed(f"blocks.{layer}.{mixer.adapter.part}.hook_in", RESIDUAL, read, only=only))
        points.extend(mixer.adapter.points.values())
        points.append(out)
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


def _placed(
    name: str, axes: tuple[str, ...], site: Site, block: nn.Module | None = None, only: int | None = None
) -> HookPoint:
    """A hook point on what a module reads or writes.

    `block` tells a flattened site its batch and time; `only` is the layer that is meant where several share the module.
    """
    point = HookPoint(name, axes)
    shapes: dict[int, tuple[int, int]] = {}  # by thread, as in place_residual
    earlier: dict[int, dict[nn.Module, Tensor]] = {}

    def fired(tensor: Tensor) -> Tensor:
        if not site.flattened:
            others = earlier.pop(threading.get_ident(), {})
            before = reduce(operator.add, (others[other] for other in site.also)) if site.also else None
            return shown(point, tensor, site.scale, before)
        return point(tensor.view(*shapes[threading.get_ident()], tensor.shape[-1])).reshape(tensor.shape)

    def at_block(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        batch, time = stream_read(args, kwargs).shape[:2]
        shapes[threading.get_ident()] = (batch, time)

    def at_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if only is not None and running_layer() != only:
            return None
        # A copy: others may read the same tensor (an MLP in parallel), and an edit in place is not for them.
        return with_read(args, kwargs, fired(stream_read(args, kwargs).clone()))

    def at_output(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (fired(output[0]), *output[1:])
        return fired(output)

    def at_other(module: nn.Module, args: Any, output: Any) -> None:
        earlier.setdefault(threading.get_ident(), {})[module] = output[0] if isinstance(output, tuple) else output

    def source() -> Callable[[], None]:
        handles = [other.register_forward_hook(at_other) for other in site.also]
        handles += [
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
