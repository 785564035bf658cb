"""nnsight around a hooked model: its traces reach every hook point of ours beside every module of the model.

nnsight sees modules, and a hook point is none. Each point therefore gets an identity module in a tree of its own; while
a trace runs, the tensors of the points pass through these modules, where nnsight reads and replaces them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from nnsight import NNsight
from nnsight.intervention.envoy import Envoy
from nnsight.modeling.transformers import TransformersModel
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.hooks import HookPoint

if TYPE_CHECKING:
    from workbench.model import HookedModel


class Passage(nn.Module):
    """An identity that a hook point's tensor passes through."""

    def __init__(self, point: HookPoint) -> None:
        super().__init__()
        self.point = point
        self.open = False

    def forward(self, tensor: Tensor) -> Tensor:
        return tensor

    def show(self, tensor: Tensor, hook: HookPoint) -> Tensor:
        """A hook: lets nnsight see the tensor."""
        shown: Tensor = self(tensor)
        return shown

    def listen(self) -> None:
        """Listen at the point until `leave`."""
        if not self.open:
            self.point.listen(self.show)
            self.open = True

    def leave(self) -> None:
        """Undo `listen`."""
        if self.open:
            self.point.leave(self.show)
            self.open = False


class Points(nn.Module):
    """Part of the tree of passages; a hook's dotted name is the path to it."""

    def place(self, path: list[str], passage: Passage) -> None:
        """Put a passage at a path, with what is missing on the way there."""
        name, *rest = path
        if not rest:
            self.add_module(name, passage)
            return
        if name not in self._modules:
            self.add_module(name, Points())
        below = self._modules[name]
        assert isinstance(below, Points)  # no hook's name continues another's
        below.place(rest, passage)


class Traced(nn.Module):
    """What nnsight runs: the hooked model, called with text or tokens, with its points open to the trace.

    Attributes:
        wrapped: the stock module.
        points: the tree of passages.
    """

    def __init__(self, model: HookedModel) -> None:
        super().__init__()
        self.wrapped = model.wrapped
        self.points = Points()
        self.hooked: HookedModel
        object.__setattr__(self, "hooked", model)  # no submodule: its own is `wrapped`
        self._passages = {name: Passage(point) for name, point in model.points.items()}
        for name, passage in self._passages.items():
            self.points.place(name.split("."), passage)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """`HookedModel.forward`: logits, as a rule.

        Points that are built on request (patterns, states) are opened by the trace when it asks for one; opening the
        others costs nothing worth a choice.
        """
        with ExitStack() as stack:
            for passage in self._passages.values():
                stack.callback(passage.leave)
                if not passage.point.on_request:
                    passage.listen()
            return self.hooked(*args, **kwargs)


class PassageEnvoy(Envoy):  # type: ignore[misc]
    """Opens a point that is built on request, as soon as a trace asks for its tensor."""

    @property
    def output(self) -> Any:
        """The point's tensor; assign to it, or change it in place, and the model goes on with that."""
        self._module.listen()
        return Envoy.output.__get__(self)

    @output.setter
    def output(self, value: Any) -> None:
        self._module.listen()
        Envoy.output.__set__(self, value)


class PointsEnvoy(Envoy):  # type: ignore[misc]
    """The tree of points, also by a hook's whole name: ``m.points["blocks.0.mixer.hook_z"].output``."""

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str) or "." not in key:
            return super().__getitem__(key)
        canonical: HookPoint = self.root._module.hooked.points[key]
        return self.get(canonical.name)


class RemoteModel(TransformersModel):  # type: ignore[misc]
    """nnsight's own model of a hub id, whose traces and sessions run on a cluster unless they say otherwise."""

    def __init__(self, repo_id: str, remote: bool | str, **kwargs: Any) -> None:
        self._where = remote
        super().__init__(repo_id, **{"task": "text-generation", **kwargs})  # else the hub is asked for the task

    def trace(self, *inputs: Any, remote: bool | str | None = None, **kwargs: Any) -> Any:
        """A trace of nnsight's, with ``remote=`` filled in."""
        return super().trace(*inputs, remote=self._where if remote is None else remote, **kwargs)

    def session(self, *args: Any, remote: bool | str | None = None, **kwargs: Any) -> Any:
        """A session of nnsight's, with ``remote=`` filled in; a session's own traces take none."""
        return super().session(*args, remote=self._where if remote is None else remote, **kwargs)

    def _remoteable_class(self) -> type:
        known: type = TransformersModel  # to the cluster
        return known


def traced(model: HookedModel, **kwargs: Any) -> Any:
    """An `nnsight.NNsight` over the model's weights; see `HookedModel.nnsight`."""
    envoys = {Passage: PassageEnvoy, Points: PointsEnvoy, **kwargs.pop("envoys", {})}
    return NNsight(Traced(model), envoys=envoys, **kwargs)


def remote_model(name: str, remote: bool | str = True, **kwargs: Any) -> Any:
    """A model that a cluster holds, by its hub id; no weights are loaded here, and traces run there.

    The cluster runs the stock class without this package: a trace reaches its modules, and no hook points of ours.

    Args:
        remote: what nnsight's ``trace(remote=...)`` gets: True, a host, or ``"local"`` for a rehearsal.
        kwargs: for `nnsight.modeling.transformers.TransformersModel`.

    Raises:
        InputError: a zoo member or no name at all; a cluster knows hub ids alone.
    """
    if not name or name.startswith("zoo:"):
        raise InputError(
            f"A cluster knows models by their hub id (owner/name), which {name or 'this module'!r} is not."
        )
    return RemoteModel(name, remote, **kwargs)
