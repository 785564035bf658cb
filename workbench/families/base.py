"""What an adapter is: the one place that knows how a family turns activations into a canonical form.

An adapter wraps one mixer module. It owns no weights; it computes from the module's own parameters, through
`workbench.kernels`, firing hook points on the way. Everything else in the workbench talks to forms and hook names and
never asks which family it is looking at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from workbench.errors import InputError, UnsupportedFamilyError
from workbench.forms import MixerForm
from workbench.hooks import HookPoint
from workbench.knockout import Cut


class MixerAdapter(ABC):
    """One layer's token mixer, seen through a canonical form.

    Subclasses set `family` and `mixer_classes`, list their own hook points in `declare_points`, and compute in a
    forward that replaces the module's (`install` arranges it). While `recording` is on, each forward hands a
    `MixerForm` to the recorder.

    Attributes:
        module: the mixer module whose parameters are used.
        layer: its block's number.
        index: its number among the mixers of its block, 0 for the first.
        points: hook points by local name (``"hook_q"``), all of them present in the model's hook table.
        n_heads: heads that carry their own implicit attention matrix (channels, for Mamba-1).
        cuts: edges between tokens that are knocked out (see `workbench.knockout`).
        d_value: value channels a head; ``n_heads * d_value`` is what the output projection reads.
    """

    family: str
    mixer_classes: ClassVar[tuple[str, ...]]
    recurrent: ClassVar[bool]

    def __init__(self, module: nn.Module, layer: int) -> None:
        self.module = module
        self.layer = layer
        self.index = 0
        prefix = f"blocks.{layer}.{self.part}"
        self.points = {
            local: HookPoint(f"{prefix}.{local}", axes, on_request) for local, axes, on_request in self.declare_points()
        }
        self._recorder: Callable[[MixerForm], None] | None = None
        self.cuts: list[Cut] = []

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Whether this adapter serves `module` although its class is not in `mixer_classes`."""
        return False

    @property
    @abstractmethod
    def n_heads(self) -> int:
        """Heads that carry their own implicit attention matrix."""

    @property
    @abstractmethod
    def d_value(self) -> int:
        """Value channels a head."""

    @abstractmethod
    def declare_points(self) -> Iterable[tuple[str, tuple[str, ...], bool]]:
        """Hook points inside the mixer, in firing order: (local name, axes, built on request)."""

    @abstractmethod
    def install(self) -> Callable[[], None]:
        """Route the module's forward through this adapter; return a function that undoes it."""

    @property
    def part(self) -> str:
        """What its block calls it in hook names and sites: ``mixer`` for the first, ``mixer1`` for the second."""
        return f"mixer{self.index or ''}"

    @property
    def place(self) -> str:
        """Where it is, for messages: ``layer 3``, or ``mixer 1 of layer 3`` where it is not the first."""
        return f"mixer {self.index} of layer {self.layer}" if self.index else f"layer {self.layer}"

    @property
    def recording(self) -> bool:
        """Whether somebody wants the mixer's form."""
        return self._recorder is not None

    def record(self, form: MixerForm) -> None:
        """Hand the form of the forward pass under way to whoever asked for it."""
        if self._recorder is not None:
            self._recorder(form)

    def numbered(self, index: int) -> MixerAdapter:
        """This adapter as its block's mixer number `index`: a second mixer's hooks are called ``mixer1.hook_q``."""
        self.index = index
        for local, point in self.points.items():
            point.name = f"blocks.{self.layer}.{self.part}.{local}"
        return self

    @contextmanager
    def recorded_by(self, recorder: Callable[[MixerForm], None]) -> Iterator[None]:
        """Call `recorder` with the mixer's form at each forward inside the ``with`` block."""
        previous, self._recorder = self._recorder, recorder
        try:
            yield
        finally:
            self._recorder = previous


class NoMixer(MixerAdapter):
    """What stands in for the mixer of a block without one (an MLP alone, as in Nemotron-H): no heads, no hooks.

    Raises:
        InputError: somebody wants to record its mixer.
    """

    family = "none"
    mixer_classes = ()
    recurrent = False

    @property
    def n_heads(self) -> int:
        """None at all."""
        return 0

    @property
    def d_value(self) -> int:
        """None at all."""
        return 0

    def declare_points(self) -> Iterable[tuple[str, tuple[str, ...], bool]]:
        return ()

    def install(self) -> Callable[[], None]:
        return lambda: None

    @contextmanager
    def recorded_by(self, recorder: Callable[[MixerForm], None]) -> Iterator[None]:
        self.refuse()
        yield

    def refuse(self) -> None:
        """Say that nothing can be asked of it. Raises InputError, always."""
        raise InputError(
            f"Layer {self.layer} ({type(self.module).__name__}) has no token mixer: no token reads another one there."
        )


@dataclass(frozen=True)
class Site:
    """A tensor in the forward pass, by the module that reads or writes it.

    Attributes:
        module: the module.
        output: True for what it returns (the first element of a tuple), False for what it reads.
        flattened: True where the module sees ``[batch * time, width]`` (OPT's feed-forward layers).
        scale: what the tensor is multiplied with before it is added to the residual stream (Granite's and Falcon-H1's
            multipliers); a hook point there shows the product.
        also: modules called before it whose outputs are added to its own first (Granite's experts, beside its shared
            MLP); a hook point shows the total.
    """

    module: nn.Module
    output: bool
    flattened: bool = False
    scale: float = 1.0
    also: tuple[nn.Module, ...] = ()


@dataclass(frozen=True)
class PlacedMixer:
    """One of a block's mixers, and where it writes.

    Attributes:
        adapter: the mixer.
        out: what it adds to the residual stream: its own output, or that of a norm after it (Gemma-2).
        writes: whether it is added to the residual stream (Zamba's shared attention feeds a Mamba mixer instead).
    """

    adapter: MixerAdapter
    out: Site
    writes: bool = True


@dataclass(frozen=True)
class BlockLayout:
    """Where the parts of one residual block are.

    Attributes:
        block: the module whose input is the residual stream before, and whose output the stream after.
        layer: its number.
        mixers: the block's mixers, recurrent ones first; none in a block that is an MLP alone.
        sequential: whether something reads the residual stream between the mixers and the MLP; False for parallel
            blocks and blocks without an MLP.
        mlp_pre: the hidden activation before the non-linearity (of the gate, in a gated MLP), or None.
        mlp_post: the hidden activation that the MLP's output matrix reads, or None.
        mlp_out: what the MLP adds to the residual stream, or None for a block without an MLP.
        inner_mlps: MLPs whose output goes to a mixer instead (in Zamba's shared transformer block).
        additive: whether output = input + what the mixers that write add + mlp_out; False where a norm comes between.
    """

    block: nn.Module
    layer: int
    mixers: tuple[PlacedMixer, ...]
    sequential: bool = False
    mlp_pre: Site | None = None
    mlp_post: Site | None = None
    mlp_out: Site | None = None
    inner_mlps: tuple[nn.Module, ...] = ()
    additive: bool = True

    @property
    def adapter(self) -> MixerAdapter:
        """The mixer that a layer's number alone means: the first, or a `NoMixer`."""
        return self.mixers[0].adapter if self.mixers else NoMixer(self.block, self.layer)

    @property
    def family(self) -> str:
        """The families of its mixers, joined by ``+``; ``"none"`` without a mixer."""
        return "+".join(mixer.adapter.family for mixer in self.mixers) or NoMixer.family


_ADAPTERS: dict[str, type[MixerAdapter]] = {}
_REGISTERED: list[type[MixerAdapter]] = []


def register(adapter: type[MixerAdapter]) -> type[MixerAdapter]:
    """Class decorator: let `adapter` serve the mixer classes it names. Refuses a class name that is taken."""
    for name in adapter.mixer_classes:
        taken = _ADAPTERS.get(name)
        if taken is not None and taken is not adapter:
            raise ValueError(f"{name} is served by {taken.__qualname__} already; unregister that adapter first.")
    for name in adapter.mixer_classes:
        _ADAPTERS[name] = adapter
    if adapter not in _REGISTERED:
        _REGISTERED.append(adapter)
    return adapter


def unregister(adapter: type[MixerAdapter]) -> None:
    """Take back what `register` did."""
    for name in [name for name, known in _ADAPTERS.items() if known is adapter]:
        del _ADAPTERS[name]
    if adapter in _REGISTERED:
        _REGISTERED.remove(adapter)


def unit_name(mixers: Sequence[MixerAdapter]) -> str:
    """What a head of these mixers is called: "channel" where each carries a single value (Mamba-1), else "head"."""
    return "channel" if all(mixer.d_value == 1 for mixer in mixers) else "head"


def adapter_class(module: nn.Module) -> type[MixerAdapter] | None:
    """The adapter registered for a module's class or one of its bases, else one that recognises it, else None."""
    for cls in type(module).__mro__:
        if cls.__name__ in _ADAPTERS:
            return _ADAPTERS[cls.__name__]
    return next((adapter for adapter in _REGISTERED if adapter.recognises(module)), None)


def adapt(module: nn.Module, layer: int, **options: Any) -> MixerAdapter:
    """Build the adapter of a mixer module. Raises UnsupportedFamilyError when nobody serves its class."""
    found = adapter_class(module)
    if found is None:
        raise UnsupportedFamilyError(
            f"Layer {layer} mixes tokens with {type(module).__name__}, which no adapter serves; "
            f"supported families: {', '.join(families())}."
        )
    return found(module, layer, **options)


def families() -> list[str]:
    """Names of the supported families, sorted."""
    return sorted({adapter.family for adapter in _REGISTERED})
