"""What a run recorded: tensors by hook name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.direct_logits.stacks import ResidualStacks
from workbench.errors import HookNameError, InputError, nearest
from workbench.hooks import HookPoint, HookPoints
from workbench.short_names import OUTSIDE, tail_of

if TYPE_CHECKING:
    from workbench.running import RunnableModel

Key: TypeAlias = "str | tuple[str] | tuple[str, int | None] | tuple[str, int | None, str | None]"

SECTIONS = {"a": "mixer", "attn": "mixer", "mixer": "mixer", "m": "mlp", "mlp": "mlp"}


class ActivationCache(ResidualStacks, Mapping[str, Tensor]):
    """Recorded activations by hook name, in the order of the forward pass.

    ``cache["blocks.3.mixer.hook_z"]``, any alias of it, ``cache["z", 3]``, ``cache["resid_post", -1]`` and
    ``cache["post", 0, "mlp"]`` all work; the tuples are TransformerLens' short names. Tensors are the ones the forward
    pass used, not copies: change them only out of place.

    What the parts of the model wrote into the residual stream, and from there into a logit, comes from the methods of
    `ResidualStacks`: ``cache.decompose_resid()``, ``cache.stack_head_results()``, ``cache.logit_attrs(...)``.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        points: HookPoints,
        n_layers: int,
        model: RunnableModel | None = None,
        has_batch_dim: bool = True,
    ) -> None:
        self._tensors = dict(tensors)
        self._points = points
        self.n_layers = n_layers
        self.model = model
        self.has_batch_dim = has_batch_dim

    def __repr__(self) -> str:
        return f"ActivationCache({len(self)} tensors, {self.nbytes / 2**20:.1f} MiB)"

    def _repr_html_(self) -> str:
        """A card with the first names and their shapes, for notebooks."""
        from workbench.report.cards import Card, CardTable, render_card

        rows = [
            (name, " × ".join(map(str, tensor.shape)), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in self._tensors.items()
        ]
        title = f"{len(self)} recorded activations, {self.nbytes / 2**20:.1f} MiB"
        return render_card(Card(title, table=CardTable(("name", "shape", "type"), rows)))

    def __getitem__(self, key: Key) -> Tensor:
        name = self.name_of(key)
        if name in self._tensors:
            return self._tensors[name]
        if name in self._points:
            raise HookNameError(f"{name} was not recorded in this run; ask for it with names_filter.")
        close = nearest(name, self._tensors)
        hint = f"nearest: {', '.join(close)}" if close else "cache.keys() lists what it has"
        raise HookNameError(f"The cache has no {name!r}; {hint}.")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | tuple) and self.name_of(key) in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def name_of(self, key: Key) -> str:
        """The canonical name of a key; a key that names no hook point comes back as it is spelled."""
        if isinstance(key, str):
            return self._points.aliases.get(key, key)
        if not isinstance(key, tuple) or not 1 <= len(key) <= 3 or not isinstance(key[0], str):
            raise InputError(f"{key!r} is no key; use a hook name, or a short name and a layer as in cache['z', 0].")
        short, layer, section = (*key, None, None)[:3]
        if layer is None:
            if short in OUTSIDE:
                return f"hook_{short}"
            return self._points.aliases.get(short, short)
        if not hasattr(layer, "__index__"):
            raise InputError(f"Layer {layer!r} is no whole number; use for example cache[{short!r}, 0].")
        if not -self.n_layers <= layer < self.n_layers:
            raise InputError(f"Layer {layer} is out of range: the model has layers 0 to {self.n_layers - 1}.")
        if section is not None and section not in SECTIONS:
            raise InputError(f"{section!r} is no part of a block; use 'attn', 'mixer' or 'mlp'.")
        tail = tail_of(short, None if section is None else SECTIONS[section])
        return self.name_of(f"blocks.{int(layer) % self.n_layers}.{tail}")

    @property
    def nbytes(self) -> int:
        """Bytes held, counting storage that several tensors share once."""
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in self._tensors.values()}
        return sum(storages.values())

    def stack_activation(self, name: str, layers: Iterable[int] | None = None) -> Float[Tensor, "layer ..."]:
        """One activation of several layers, stacked along a new first axis.

        Args:
            name: short name (``"resid_post"``, ``"z"``) or the tail of a hook name (``"mixer.hook_out"``).
            layers: which layers; None means every layer that recorded it.

        Raises:
            HookNameError: no layer recorded it.
        """
        wanted = range(self.n_layers) if layers is None else layers
        names = [self.name_of(f"blocks.{i}.{name}") if "hook_" in name else self.name_of((name, i)) for i in wanted]
        names = [spelled for spelled in names if layers is not None or spelled in self._tensors]
        if not names:
            raise HookNameError(f"No layer recorded {name!r} in this run; ask for it with names_filter.")
        return torch.stack([self[spelled] for spelled in names])

    def to(self, device: torch.device | str) -> ActivationCache:
        """A cache with every tensor on `device`."""
        return self._with({n: t.to(device) for n, t in self._tensors.items()})

    def detach(self) -> ActivationCache:
        """A cache with every tensor cut off from the autograd graph."""
        return self._with({n: t.detach() for n, t in self._tensors.items()})

    def remove_batch_dim(self) -> ActivationCache:
        """A cache without the batch axis. Raises InputError when the batch holds more than one sequence."""
        for name, tensor in self._tensors.items():
            if tensor.shape[0] != 1:
                raise InputError(f"{name} holds {tensor.shape[0]} sequences; the batch axis can go only when it is 1.")
        return self._with({n: t[0] for n, t in self._tensors.items()}, has_batch_dim=False)

    def keep(self, name: str, tensor: Tensor) -> None:
        """Add a tensor that was computed from others, under a canonical name."""
        self._tensors[name] = tensor

    def _with(self, tensors: Mapping[str, Tensor], has_batch_dim: bool | None = None) -> ActivationCache:
        batched = self.has_batch_dim if has_batch_dim is None else has_batch_dim
        return ActivationCache(tensors, self._points, self.n_layers, self.model, batched)


class Recorder:
    """Collects what hook points show; a point that fires once a step is stacked along time (axis 1)."""

    def __init__(self, device: torch.device | str | None = None) -> None:
        self._device = device
        self._tensors: dict[str, Tensor] = {}
        self._steps: dict[str, list[Tensor]] = {}

    def __call__(self, tensor: Tensor, hook: HookPoint) -> None:
        kept = tensor if self._device is None else tensor.to(self._device)
        if hook.step is None:
            self._tensors[hook.name] = kept
        else:
            self._steps.setdefault(hook.name, []).append(kept)

    def cache(self, points: HookPoints, n_layers: int, model: RunnableModel | None = None) -> ActivationCache:
        """Everything recorded, in the order of the forward pass."""
        stacked = {name: torch.stack(steps, dim=1) for name, steps in self._steps.items()}
        found = {**self._tensors, **stacked}
        return ActivationCache({name: found[name] for name in points if name in found}, points, n_layers, model)
