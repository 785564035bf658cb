"""What a model remembers of a text: kept, saved, changed, and gone on from, for every family alike.

A `ModelState` holds whatever the wrapped model needs to go on (keys and values, recurrent states, convolution inputs)
and shows the recurrent states in the canonical layout ``[batch, heads, key, value]``. Going on never changes the state
that one goes on from, so one prompt can have many continuations.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import InputError, LoadError
from workbench.knockout import Progress

if TYPE_CHECKING:
    from workbench.families.recurrent import RecurrentAdapter
    from workbench.running import RunnableModel

FORMAT = "workbench-state-1"
Path_ = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class ModelState:
    """What a model remembers after some tokens.

    Attributes:
        tokens: the tokens, padding included.
        mask: 1 at tokens and 0 at padding.
        recurrent: the canonical state of each recurrent layer after the last token, by layer.
        logits: of the last token.
        cache: the wrapped model's own cache.
        held: what modules keep in themselves, by module name and attribute (RecurrentGemma).
        edits: states that replace those of the cache when one goes on.
        cut: how far the knock-outs had come that were in force; not saved.
    """

    tokens: Int[Tensor, "batch time"]
    mask: Int[Tensor, "batch time"]
    recurrent: dict[int, Float[Tensor, "batch heads key value"]]
    logits: Float[Tensor, "batch vocab"]
    cache: Any = field(repr=False)
    held: dict[str, Tensor] = field(default_factory=dict, repr=False)
    edits: dict[int, Tensor] = field(default_factory=dict, repr=False)
    cut: tuple[Progress, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"ModelState(after {self._read()}, {len(self.recurrent)} recurrent layers, {self.nbytes:,} bytes)"

    def _read(self) -> str:
        batch, time = self.tokens.shape
        return f"{time} tokens" if batch == 1 else f"{batch} × {time} tokens"

    def _repr_html_(self) -> str:
        """A card of the recurrent states, for notebooks."""
        from workbench.report.cards import Card, CardTable, render_card

        rows = [
            (layer, " × ".join(map(str, state.shape)), float(state.norm()), "yes" if layer in self.edits else "")
            for layer, state in self.recurrent.items()
        ]
        columns = ("layer", "batch × heads × key × value", "norm", "edited")
        table = CardTable(columns, rows, frozenset({0, 2})) if rows else None
        facts = {"bytes": f"{self.nbytes:,}"} | ({} if rows else {"recurrent states": "none"})
        return render_card(Card(f"What the model remembers after {self._read()}", facts, table))

    def with_recurrent(self, layer: int, state: Float[Tensor, "batch heads key value"]) -> ModelState:
        """The same memory with another recurrent state in one layer.

        Nothing else changes: not the last inputs of a convolution, nor the normaliser and the running maximum `m` of
        exponential gates (RWKV-4, mLSTM, sLSTM), whose state is kept divided by ``exp(m)``. To halve such a state
        halves what is read of it; states of two texts have scales of their own.

        Raises:
            InputError: the layer has no recurrent state, or the state has another shape.
        """
        if not isinstance(state, Tensor):
            raise InputError(f"A state is a tensor [batch, heads, key, value], not {state!r}.")
        if layer not in self.recurrent:
            raise InputError(f"Layer {layer} keeps no recurrent state; these layers do: {sorted(self.recurrent)}.")
        expected = self.recurrent[layer]
        if state.shape != expected.shape:
            raise InputError(f"The state of layer {layer} is {[*expected.shape]}, not {[*state.shape]}.")
        state = state.to(expected)
        return replace(self, recurrent={**self.recurrent, layer: state}, edits={**self.edits, layer: state})

    def repeated(self, times: int) -> ModelState:
        """The memory of a batch in which every sequence comes so many times, one after the other."""
        rows = len(self.tokens)

        def more(tensor: Tensor) -> Tensor:
            alike = tensor.dim() > 0 and tensor.shape[0] == rows
            return tensor.repeat_interleave(times, 0) if alike else tensor

        cache = copy.deepcopy(self.cache)
        for where, leaf in list(_leaves(cache)):
            if isinstance(leaf, Tensor):
                cache = _put(cache, [list(step) for step in where], more(leaf))
        return replace(
            self,
            tokens=more(self.tokens),
            mask=more(self.mask),
            recurrent={layer: more(state) for layer, state in self.recurrent.items()},
            logits=more(self.logits),
            cache=cache,
            held={name: more(tensor) for name, tensor in self.held.items()},
            edits={layer: more(state) for layer, state in self.edits.items()},
        )

    @property
    def nbytes(self) -> int:
        """Bytes of what is needed to go on: caches and what modules hold, not the tokens and their logits."""
        kept = [leaf for _, leaf in _leaves(self.cache) if isinstance(leaf, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in (*kept, *self.held.values()))

    def save(self, path: Path | str) -> None:
        """Write the memory as one safetensors file, all at once or not at all."""
        from safetensors.torch import save_file

        from workbench.report.files import replacing

        tensors: dict[str, Tensor] = {"tokens": self.tokens, "mask": self.mask, "logits": self.logits}
        scalars: dict[str, Any] = {}
        for where, leaf in _leaves(self.cache):
            name = json.dumps(where)
            if isinstance(leaf, Tensor):
                tensors[f"cache {name}"] = leaf
            else:
                scalars[name] = leaf
        tensors |= {f"recurrent {layer}": state for layer, state in self.recurrent.items()}
        tensors |= {f"edit {layer}": state for layer, state in self.edits.items()}
        tensors |= {f"held {name}": tensor for name, tensor in self.held.items()}
        meta = {"format": FORMAT, "scalars": json.dumps(scalars)}
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, temporary, meta)


def prefill(
    model: RunnableModel,
    tokens: Int[Tensor, "batch time"],
    mask: Int[Tensor, "batch time"] | None,
    state: ModelState | None,
) -> ModelState:
    """Read tokens, after those of `state` if there is one; hooks fire. See `HookedModel.prefill`."""
    mask = torch.ones_like(tokens) if mask is None else mask
    if state is not None:
        check_fits(state, tokens)
        tokens_before, mask_before = state.tokens.to(tokens), state.mask.to(mask)
        if not bool(mask.all()):
            raise InputError("Padding belongs to the beginning of a text; a text that goes on has none.")
        mask = torch.cat([mask_before, mask], dim=1)
    recurrent: dict[int, Tensor] = {}
    with torch.no_grad(), going_on(model, state) as cache, _closing_states(model, recurrent):
        output = model.step(tokens, mask, _positions(mask, tokens.shape[1]), cache, True)
        held = _held(model)
        progress = tuple(cut.progress() for adapter in model.layout.every_adapter for cut in adapter.cuts)
    if output.cache is None:
        raise InputError(f"{model.cfg.model_name} keeps nothing between calls: its forward takes no cache.")
    every = tokens if state is None else torch.cat([tokens_before, tokens], dim=1)
    return ModelState(every, mask, recurrent, output.logits[:, -1], output.cache, held, cut=progress)


@contextmanager
def going_on(model: RunnableModel, state: ModelState | None) -> Iterator[Any]:
    """A copy of the state's cache to hand to the model, with edits put in at the first call."""
    if state is None:
        yield None
        return
    for adapter in model.layout.every_adapter:
        for cut in adapter.cuts:
            # Without a record of its own a recurrent mixer refuses, and attention needs none but the positions.
            cut.seen, cut.past = 0 if adapter.recurrent else state.tokens.shape[1], {}
    for progress in state.cut:
        progress.restore()
    modules = dict(model.wrapped.named_modules())
    for name, tensor in state.held.items():
        owner, attribute = name.rsplit(" ", 1)
        setattr(modules[owner], attribute, tensor.clone())
    adapters = dict(_recurrent(model))
    try:
        for layer, edit in state.edits.items():
            adapters[layer].opening = edit
        yield copy.deepcopy(state.cache)
    finally:
        for adapter in adapters.values():
            adapter.opening = None


def check_fits(state: ModelState, tokens: Int[Tensor, "batch time"]) -> None:
    """Refuse tokens of another batch size.

    Raises:
        InputError: says both sizes.
    """
    if len(tokens) != len(state.tokens):
        raise InputError(f"The state is of {len(state.tokens)} sequences; the tokens that go on are {len(tokens)}.")


def load_state(model: RunnableModel, path: Path | str) -> ModelState:
    """Read a memory that `ModelState.save` wrote, for the same model.

    Raises:
        LoadError: no such file, none of this format, or of another model (its parts have other places or shapes).
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(str(path), framework="pt", device=str(model.cfg.device)) as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, SafetensorError) as error:
        raise LoadError(f"{path} is no saved state: {error}.") from error
    if meta.get("format") != FORMAT:
        raise LoadError(f"{path} is no saved state: its format is {meta.get('format')!r}, not {FORMAT!r}.")
    missing = {"tokens", "mask", "logits"} - tensors.keys()
    if missing:
        raise LoadError(f"{path} is no whole saved state: it holds no {' and no '.join(sorted(missing))}.")
    # The shape of a cache is the model's business: a short run makes one, and what was saved is put into it.
    template = prefill(model, tensors["tokens"][:, :1], None, None)
    cache = template.cache
    recurrent = _numbered(tensors, "recurrent")
    same = recurrent.keys() == template.recurrent.keys()
    if not same or any(recurrent[i].shape[1:] != template.recurrent[i].shape[1:] for i in recurrent):
        raise LoadError(f"{path} was saved from another model than {model.cfg.model_name}.")
    leaves = {name.removeprefix("cache "): tensor for name, tensor in tensors.items() if name.startswith("cache ")}
    try:
        for name, leaf in {**json.loads(meta["scalars"]), **leaves}.items():
            _put(cache, json.loads(name), leaf)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise LoadError(f"{path} was saved from another model than {model.cfg.model_name}: {error}.") from error
    held = {name.removeprefix("held "): tensor for name, tensor in tensors.items() if name.startswith("held ")}
    edits = _numbered(tensors, "edit")
    return ModelState(tensors["tokens"], tensors["mask"], recurrent, tensors["logits"], cache, held, edits)


def _numbered(tensors: dict[str, Tensor], kind: str) -> dict[int, Tensor]:
    return {int(name.split()[1]): tensor for name, tensor in tensors.items() if name.split()[0] == kind}


def _positions(mask: Tensor, time: int) -> Tensor:
    from workbench.stock import positions

    return positions(mask)[:, -time:]


def _recurrent(model: RunnableModel) -> Iterator[tuple[int, RecurrentAdapter]]:
    from workbench.families.recurrent import RecurrentAdapter

    for layer, adapter in enumerate(model.adapters):
        if isinstance(adapter, RecurrentAdapter):
            yield layer, adapter


@contextmanager
def _closing_states(model: RunnableModel, into: dict[int, Tensor]) -> Iterator[None]:
    adapters = list(_recurrent(model))
    try:
        for layer, adapter in adapters:
            adapter.closing = lambda state, layer=layer: into.__setitem__(layer, state.detach().clone())
        yield
    finally:
        for _, adapter in adapters:
            adapter.closing = None


def _held(model: RunnableModel) -> dict[str, Tensor]:
    """Plain tensors that mixers keep as attributes, neither parameters nor buffers."""
    names = {module: name for name, module in model.wrapped.named_modules()}
    return {
        f"{names[part]} {attribute}": value.clone()
        for _, adapter in _recurrent(model)
        for part in adapter.module.modules()
        for attribute, value in vars(part).items()
        if isinstance(value, Tensor) and part in names
    }


# Caches as trees: attributes, items, and tensors or plain values at the ends.


def _leaves(root: Any, where: Path_ = (), seen: frozenset[int] = frozenset()) -> Iterator[tuple[Path_, Any]]:
    if isinstance(root, Tensor) or root is None or isinstance(root, bool | int | float | str):
        yield where, root
        return
    if id(root) in seen or isinstance(root, nn.Module | torch.dtype | torch.device) or callable(root):
        return
    seen = seen | {id(root)}
    if isinstance(root, dict):
        for key, value in root.items():
            yield from _leaves(value, (*where, ("item", key)), seen)
    if isinstance(root, list | tuple):
        for key, value in enumerate(root):
            yield from _leaves(value, (*where, ("item", key)), seen)
    elif hasattr(root, "__dict__") and not type(root).__name__.endswith("Config"):
        for key, value in vars(root).items():
            yield from _leaves(value, (*where, ("attribute", key)), seen)


def _put(root: Any, where: list[list[Any]], leaf: Any) -> Any:
    """The tree with another leaf; what can be written in place is, tuples are made anew."""
    if not where:
        return leaf
    (step, key), *rest = where
    child = _put(root[key] if step == "item" else getattr(root, key), rest, leaf)
    if isinstance(root, tuple):
        return (*root[:key], child, *root[key + 1 :])
    if step == "item":
        root[key] = child
    else:
        setattr(root, key, child)
    return root
