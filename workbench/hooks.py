"""Hook points: named places in a forward pass where tensors are read and edited.

A hook is a function ``fn(tensor, hook)`` that returns a tensor of the same shape, dtype and device (the edit) or None
(just looking): TransformerLens' signature, so notebooks move over. Two silences of other tools are errors here: a name
that matches nothing, and a hook that never fired.
"""

from __future__ import annotations

import fnmatch
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from torch import Tensor

from workbench.errors import HookEditError, HookNameError, HookNeverFiredError, InputError, nearest
from workbench.short_names import OUTSIDE, tail_of
from workbench.steps import AtSteps

HookFunction: TypeAlias = "Callable[[Tensor, HookPoint], Tensor | None]"
NamesFilter: TypeAlias = "str | Iterable[str] | Callable[[str], bool] | None"


class HookPoint:
    """One named place in the forward pass.

    A point costs nothing while nobody listens: what places it in a module (`source`) is called when the first listener
    comes and undone when the last one leaves.

    Attributes:
        name: canonical name, for example ``blocks.3.mixer.hook_out``.
        axes: names of the tensor's axes, for example ``("batch", "time", "d_model")``.
        on_request: True for tensors that are built only while somebody listens (patterns, states).
        step: the time step while a per-step hook (``hook_state``) fires, else None; the first token of a prompt,
            padding included, is step 0, and decoding counts on.
        ran: how many steps a per-step hook's latest run had, whether it fired at them or not.
        ctx: a dictionary that hooks may keep notes in; never touched by the workbench.
        fired: how often listeners were shown a tensor.
        protects: while True, listeners get a copy they may change in place: a cache holds the original elsewhere.
        source: places the point in the forward pass and returns what takes it out again; None where the forward pass
            calls the point by itself.
    """

    __slots__ = (
        "__weakref__",
        "_backward",
        "_forward",
        "_release",
        "axes",
        "ctx",
        "fired",
        "name",
        "on_request",
        "protects",
        "ran",
        "source",
        "step",
    )

    def __init__(self, name: str, axes: tuple[str, ...], on_request: bool = False) -> None:
        self.name = name
        self.axes = axes
        self.on_request = on_request
        self.step: int | None = None
        self.ran = 0
        self.ctx: dict[str, Any] = {}
        self.fired = 0
        self.protects = False
        self.source: Callable[[], Callable[[], None]] | None = None
        self._release: Callable[[], None] | None = None
        self._forward: list[HookFunction] = []
        self._backward: list[HookFunction] = []

    def __repr__(self) -> str:
        return f"HookPoint({self.name!r}, [{', '.join(self.axes)}])"

    @property
    def active(self) -> bool:
        """Whether anybody listens; tensors built on request are built only then."""
        return bool(self._forward or self._backward)

    @property
    def per_step(self) -> bool:
        """Whether it fires once a step (``hook_state``), and not once a run with all steps."""
        return "time" not in self.axes

    def steps(self, first: int, end: int) -> list[int] | None:
        """The steps from `first` up to `end` at which a listener wants to be called (see `at_steps`); None for all."""
        chosen: set[int] = set()
        for function in (*self._forward, *self._backward):
            if not isinstance(function, AtSteps):
                return None
            chosen |= function.between(first, end)
        return sorted(chosen)

    def layer(self) -> int:
        """The layer number in the name. Raises InputError for a hook outside the blocks."""
        parts = self.name.split(".")
        if parts[0] != "blocks":
            raise InputError(f"{self.name} belongs to no layer; only names that start with 'blocks.' do.")
        return int(parts[1])

    def __call__(self, tensor: Tensor) -> Tensor:
        """Show `tensor` to every hook, in the order they were added, and return it with their edits."""
        if not (self._forward or self._backward):
            return tensor
        self.fired += 1
        if self.protects:
            tensor = tensor.clone()
        for function in self._forward:
            edited = function(tensor, self)
            if edited is not None:
                tensor = self.checked(edited, tensor)
        if self._backward:
            self._watch_gradient(tensor)
        return tensor

    def _watch_gradient(self, tensor: Tensor) -> None:
        if not tensor.requires_grad:
            raise InputError(
                f"{self.name} carries no gradient in this run, so its backward hook cannot fire; "
                "run outside torch.no_grad() with parameters or inputs that require gradients."
            )
        # The tensor is captured by autograd, so a hook must not keep the point alive through it.
        point = weakref.ref(self)
        for function in self._backward:
            if isinstance(function, AtSteps):
                if not function.meets(self.step):
                    continue
                function = function.function
            tensor.register_hook(lambda grad, f=function: f(grad, point()))

    def checked(self, edited: object, original: Tensor) -> Tensor:
        """What a hook returned, where it can replace the tensor that it was shown. Raises HookEditError else."""
        if not isinstance(edited, Tensor):
            raise HookEditError(
                f"A hook on {self.name} returned {type(edited).__name__}; return a tensor of shape "
                f"{tuple(original.shape)} or None."
            )
        for what, got, want in (
            ("shape", tuple(edited.shape), tuple(original.shape)),
            ("dtype", edited.dtype, original.dtype),
            ("device", edited.device, original.device),
        ):
            if got != want:
                axes = f" [{', '.join(self.axes)}]" if what == "shape" else ""
                raise HookEditError(
                    f"A hook on {self.name} returned a tensor of {what} {got}; {what} {want}{axes} is needed."
                )
        return edited

    def listen(self, function: HookFunction, backward: bool = False) -> None:
        """Add a listener; `leave` takes it away again."""
        if isinstance(function, AtSteps) and not self.per_step:
            raise InputError(f"{self.name} fires once a run and shows every step at once; at_steps is for hook_state.")
        if not self.active and self.source is not None and self._release is None:
            self._release = self.source()
        (self._backward if backward else self._forward).append(function)

    def leave(self, function: HookFunction, backward: bool = False) -> None:
        """Take away a listener that `listen` added."""
        (self._backward if backward else self._forward).remove(function)
        if not self.active and self._release is not None:
            self._release()
            self._release = None

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Set the listeners aside for the duration of a ``with`` block, at the end of which nothing has fired."""
        before = self._forward, self._backward, self._release, self.fired, self.ran, self.step
        self._forward, self._backward = [], []
        if self._release is not None:
            self._release = _nothing  # it stays in its place, which whoever listens within may share
        try:
            yield
        finally:
            self._forward, self._backward, self._release, self.fired, self.ran, self.step = before

    @contextmanager
    def listening(self, function: HookFunction, backward: bool = False) -> Iterator[None]:
        """Add `function` for the duration of a ``with`` block."""
        self.listen(function, backward)
        try:
            yield
        finally:
            self.leave(function, backward)


def _nothing() -> None:
    """Take nothing out of the forward pass."""


def _tail(name: str) -> str:
    """A hook's name within its block; the whole name outside the blocks."""
    return name.split(".", 2)[-1] if name.startswith("blocks.") else name


def _pairs(hooks: Any, option: str) -> list[tuple[NamesFilter, HookFunction]]:
    """Hooks as a list, checked: a mistake here would otherwise show as an error of unpacking, or deep in the run."""
    pairs: list[tuple[NamesFilter, HookFunction]] = list(hooks)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"{option} takes a list of (name, function) pairs; {pair!r} is no such pair.")
        names, function = pair
        if not callable(function):
            raise InputError(
                f"The hook on {names!r} is of type {type(function).__name__}; a function (tensor, hook) is needed."
            )
    return pairs


def _refuse_missed(point: HookPoint, function: HookFunction) -> None:
    missed = function.missed if isinstance(function, AtSteps) else []
    if missed and point.ran:  # a point that the run never came to has a message of its own
        raise HookNeverFiredError(
            f"{point.name} has no step {missed[0]}: the run had {point.ran} steps, numbered from 0, "
            "so the hook changed and recorded nothing there."
        )


class HookPoints(Mapping[str, HookPoint]):
    """All hook points of a model, by canonical name, with aliases and filters resolved in one place."""

    def __init__(self, points: Iterable[HookPoint], aliases: Mapping[str, str] | None = None) -> None:
        """`aliases` maps other spellings to canonical names; a spelling that is a canonical name stays itself."""
        self._points = {point.name: point for point in points}
        self._aliases = {alias: name for alias, name in (aliases or {}).items() if alias not in self._points}

    def __getitem__(self, name: str) -> HookPoint:
        point = self._points.get(self._aliases.get(name, name))
        if point is None:
            raise HookNameError(self._no_match(name))
        return point

    def __iter__(self) -> Iterator[str]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Every accepted alias and the canonical name it stands for."""
        return self._aliases

    def select(self, names_filter: NamesFilter = None) -> list[str]:
        """Canonical names that a filter asks for, in the order of the forward pass.

        None asks for every point that is not built on request. A string is an exact name, an alias, a glob
        (``blocks.*.hook_resid_post``), a dotted tail (``mixer.hook_out``: that hook in every layer) or a short name
        (``resid_post``, ``z``, ``embed``). Tails and globs mean canonical names; aliases count where no canonical name
        fits. A list is the union of its strings; a function is asked about each canonical name.

        Raises:
            HookNameError: a string, or the function as a whole, matches nothing; a list is empty; the tail of an alias
                means different hooks of a block.
        """
        if names_filter is None:
            return [name for name, point in self._points.items() if not point.on_request]
        if callable(names_filter):
            chosen = {name for name in self._points if names_filter(name)}
            if not chosen:
                raise HookNameError("names_filter accepts none of the model's hook names; model.hook_names lists them.")
        else:
            patterns = [names_filter] if isinstance(names_filter, str) else list(names_filter)
            if not patterns:
                raise HookNameError("An empty list of hook names asks for nothing; None asks for every hook point.")
            chosen = set().union(*(self._matching(pattern) for pattern in patterns))
        return [name for name in self._points if name in chosen]

    def _matching(self, pattern: str) -> set[str]:
        if pattern in self._points:
            return {pattern}
        if pattern in self._aliases:
            return {self._aliases[pattern]}
        found = {name for name in self._points if name.endswith(f".{pattern}")}
        if found:
            # Where layers differ in kind, what is a name of its own in one is another name of a tensor in the next.
            tails = {_tail(name) for name in found}
            return found | {name for alias, name in self._aliases.items() if _tail(alias) in tails}
        found = {name for alias, name in self._aliases.items() if alias.endswith(f".{pattern}")}
        meant = {_tail(name): name for name in self._points if name in found}
        if len(meant) > 1:
            raise HookNameError(f"{pattern!r} may mean {' or '.join(meant)}; use one of these names.")
        if not found and any(mark in pattern for mark in "*?["):
            found = {name for name in self._points if fnmatch.fnmatchcase(name, pattern)}
            found = found or {name for alias, name in self._aliases.items() if fnmatch.fnmatchcase(alias, pattern)}
        if not found and pattern.isidentifier() and not pattern.startswith("hook_"):
            found = self._of_short(pattern)
        if not found:
            raise HookNameError(self._no_match(pattern, self._nearest_tails(pattern)))
        return found

    def _of_short(self, short: str) -> set[str]:
        """The hooks that a short name means, in every layer that has one; none where nothing is called that."""
        spelled = f"hook_{short}" if short in OUTSIDE else tail_of(short)
        try:
            return self._matching(spelled)
        except HookNameError:
            return set()  # the refusal is to be about what was asked for

    def _nearest_tails(self, pattern: str) -> list[str]:
        """The nearest hooks to a name without a layer, each told once however many layers and spellings it has."""
        if pattern.startswith("blocks."):
            return []
        hooks = {_tail(alias): _tail(name) for alias, name in self._aliases.items()}
        hooks.update({_tail(name): _tail(name) for name in self._points})
        told: dict[str, str] = {}
        for spelling in nearest(pattern, hooks, count=12):
            told.setdefault(hooks[spelling], spelling)
        return list(told.values())[:3]

    def _no_match(self, name: str, close: list[str] | None = None) -> str:
        close = close or nearest(name, [*self._points, *self._aliases])
        hint = f"nearest: {', '.join(close)}" if close else "model.hook_names lists every name"
        return f"No hook point matches {name!r}; {hint}."

    @contextmanager
    def attached(
        self,
        fwd_hooks: Iterable[tuple[NamesFilter, HookFunction]] = (),
        bwd_hooks: Iterable[tuple[NamesFilter, HookFunction]] = (),
        must_fire: bool = True,
    ) -> Iterator[None]:
        """Attach hooks for the duration of a ``with`` block.

        Raises:
            HookNameError: at once, before anything runs, when a name matches nothing.
            InputError: at once, when the hooks are no (name, function) pairs.
            HookNeverFiredError: at the end of a block that raised nothing else, when a hook never fired.
        """
        wanted: list[tuple[HookPoint, HookFunction, bool]] = [
            (self._points[name], function.again() if isinstance(function, AtSteps) else function, backward)
            for hooks, backward in ((fwd_hooks, False), (bwd_hooks, True))
            for names, function in _pairs(hooks, "bwd_hooks" if backward else "fwd_hooks")
            for name in self.select(names)
        ]
        before = {point.name: point.fired for point, _, _ in wanted}
        added: list[tuple[HookPoint, HookFunction, bool]] = []
        try:
            for point, function, backward in wanted:
                point.ran = 0
                point.listen(function, backward)
                added.append((point, function, backward))
            yield
            if must_fire:
                for point, function, _ in wanted:
                    _refuse_missed(point, function)
            silent = sorted({point.name for point, _, _ in wanted if point.fired == before[point.name]})
            if must_fire and silent:
                shown = ", ".join(silent[:3]) + (f" and {len(silent) - 3} more" if len(silent) > 3 else "")
                raise HookNeverFiredError(
                    f"{shown} did not fire during the run: this forward pass does not go through there, "
                    "so the hook changed and recorded nothing."
                )
        finally:
            for point, function, backward in reversed(added):
                point.leave(function, backward)

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Set aside whoever listens, for a pass of our own inside a ``with`` block in which others may listen."""
        with ExitStack() as stack:
            for point in self._points.values():
                stack.enter_context(point.silenced())
            yield

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Give the listeners there are now copies of what they see, so that an edit in place stays at its point.

        Neighbouring points may show one and the same tensor (a block's output is the next block's input). A cache that
        keeps tensors without copying them needs this while hooks that came from outside run beside it.
        """
        guarded = [point for point in self._points.values() if point.active and not point.protects]
        for point in guarded:
            point.protects = True
        try:
            yield
        finally:
            for point in guarded:
                point.protects = False
