"""WrappedModel: a language model taken over in place, its parts under their names, and what goes into it."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NoReturn, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor, nn

from workbench.config import ModelConfig, describe
from workbench.errors import InputError, LoadError
from workbench.families.base import MixerAdapter, NoMixer
from workbench.families.layouts import find_layout
from workbench.hooks import HookPoints
from workbench.instrument import Instrument
from workbench.placement import check_placement
from workbench.stock import StockCall, leaving_no_trace
from workbench.tokens import Tokens, as_integers

ModelInput: TypeAlias = "str | Sequence[str] | Sequence[int] | Tensor"
Mask: TypeAlias = "Int[Tensor, 'batch time'] | Sequence[int] | Sequence[Sequence[int]] | None"

_hooked: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class WrappedModel(nn.Module):
    """A module with hook points in it, and the numbers and names under which its parts are found.

    Attributes:
        wrapped: the stock module.
        layout: where its parts are.
        points: every hook point by name, aliases included.
    """

    def __init__(self, module: nn.Module, tokenizer: Any = None, model_name: str | None = None) -> None:
        """Wrap a module in place. It is switched to evaluation mode; `workbench.load` also checks it.

        Raises:
            UnsupportedFamilyError: no adapter serves its mixers.
            LoadError: it is hooked already, it is no language model, or its parameters lie on several devices that
                nobody moves tensors between, or mix float64 with other dtypes.
        """
        super().__init__()
        if module in _hooked:
            raise LoadError(
                f"This {type(module).__name__} is hooked already; use its HookedModel or unwrap that first."
            )
        check_placement(module)
        module.eval()
        self.wrapped = module
        self._call = StockCall(module)
        with leaving_no_trace(module):
            self.layout = find_layout(module, self._call)
        self._cfg = describe(module, self.layout, model_name or type(module).__name__)
        self.tokens = Tokens(tokenizer, self.cfg.d_vocab, self.cfg.n_ctx, self.cfg.model_name)
        self._instrument = Instrument(module, self.layout)
        self.points: HookPoints = self._instrument.points
        _hooked.add(module)

    def __repr__(self) -> str:
        cfg = self.cfg
        heads = cfg.n_heads if isinstance(cfg.n_heads, list) else [cfg.n_heads]
        several = f"{min(heads)} to {max(heads)}" if len(heads) > 1 else str(heads[0])
        return (
            f"{type(self).__name__}({cfg.model_name}: {cfg.family}, {cfg.n_layers} layers, {several} heads, "
            f"d_model {cfg.d_model}, {str(cfg.dtype).removeprefix('torch.')}, {cfg.device})"
        )

    def _repr_html_(self) -> str:
        """A card of sizes, for notebooks."""
        from workbench.report.cards import Card, render_card

        cfg = self.cfg
        facts = {
            "mixers": ", ".join(f"{cfg.families.count(kind)} × {kind}" for kind in dict.fromkeys(cfg.families)),
            "layers": cfg.n_layers,
            "heads a layer": cfg.n_heads,
            "residual stream": f"{cfg.d_model} numbers",
            "vocabulary": f"{cfg.d_vocab:,} tokens",
            "longest text": "no limit" if cfg.n_ctx is None else f"{cfg.n_ctx:,} tokens",
            "parameters": f"{sum(parameter.numel() for parameter in self.wrapped.parameters()):,}",
            "weights": f"{str(cfg.dtype).removeprefix('torch.')} on {cfg.device}",
        }
        note = f"{len(self.points):,} hook points: hook_names lists them."
        return render_card(Card(cfg.model_name, facts, note=note))

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        """Refused: the hook points are functions that hold this very module's parts.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.cfg.model_name} cannot be copied while it is hooked; load it a second time, "
            "or copy the module that unwrap() returns."
        )

    @property
    def cfg(self) -> ModelConfig:
        """Sizes and names; dtype and device are those of the weights as they are now."""
        weight = self.layout.embed.weight
        if (weight.dtype, weight.device) != (self._cfg.dtype, self._cfg.device):
            self._cfg = replace(self._cfg, dtype=weight.dtype, device=weight.device)
        return self._cfg

    @property
    def adapters(self) -> list[MixerAdapter]:
        """The first mixer of each layer, in order; one without heads where a layer has none (`mixer` finds others)."""
        return self.layout.adapters

    @property
    def mixers(self) -> list[MixerAdapter]:
        """Every mixer of every layer, in order; each knows its `layer` and its `index` among the layer's mixers."""
        return self.layout.every_adapter

    @property
    def hook_names(self) -> list[str]:
        """Canonical names of all hook points, in the order of the forward pass."""
        return list(self.points)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, or None."""
        return self.tokens.tokenizer

    @property
    def pad_id(self) -> int:
        """The token that fills short rows."""
        return self.tokens.pad_id

    def unwrap(self) -> nn.Module:
        """Take everything out again and return the stock module; this object is of no use afterwards."""
        self._instrument.remove()
        _hooked.discard(self.wrapped)
        return self.wrapped

    def mixer(self, layer: int, index: int = 0) -> MixerAdapter:
        """One of a layer's mixers, the first by default. Raises InputError for one that the layer does not have."""
        block = self.layout.blocks[self.layer_index(layer)]
        count, index = len(block.mixers), whole_number("mixer", index)
        if count == 0 and index == 0:
            return block.adapter
        if not 0 <= index < count:
            raise InputError(
                f"Mixer {index} is out of range: layer {block.layer} of {self.cfg.model_name} has {count} "
                f"({block.family})."
            )
        return block.mixers[index].adapter

    def mixers_of(self, layers: Iterable[int] | None = None, mixer: int | None = None) -> list[MixerAdapter]:
        """The mixers that are meant by some layers and a number, in order, each once.

        Args:
            layers: None for all, of which those without such a mixer are left out.
            mixer: the number that `mixer` takes; None for all mixers that these layers have.

        Raises:
            InputError: no such layer, a listed layer without the mixer `mixer`, or no mixer at all.
        """
        listed = range(self.cfg.n_layers) if layers is None else sorted({self.layer_index(layer) for layer in layers})
        number = None if mixer is None else whole_number("mixer", mixer)
        if layers is not None and number is not None:
            named = [self.mixer(layer, number) for layer in listed]
            for adapter in named:
                if isinstance(adapter, NoMixer):
                    adapter.refuse()
            return named
        found = [adapter for adapter in self.mixers if adapter.layer in listed and number in (None, adapter.index)]
        if not found:
            which = "The layers" if layers is None else f"Layers {[*listed]}"
            what = "token mixer" if number is None else f"mixer {number}"
            raise InputError(f"{which} of {self.cfg.model_name} have no {what}.")
        return found

    def layer_index(self, layer: int) -> int:
        """A layer number from 0 on; negative numbers count from the end. Raises InputError when out of range."""
        layer = whole_number("layer", layer)
        if not -self.cfg.n_layers <= layer < self.cfg.n_layers:
            raise InputError(
                f"Layer {layer} is out of range: {self.cfg.model_name} has layers 0 to {self.cfg.n_layers - 1}."
            )
        return layer % self.cfg.n_layers

    def head_index(self, layer: int, head: int, mixer: int = 0) -> int:
        """A head number from 0 on; negative numbers count from the end. Raises InputError when out of range."""
        adapter = self.mixer(layer, mixer)
        heads, head = adapter.n_heads, whole_number("head", head)
        if not -heads <= head < heads:
            raise InputError(f"Head {head} is out of range: {adapter.place} has heads 0 to {heads - 1}.")
        return head % heads

    def to_tokens(
        self,
        text: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] = "left",
    ) -> Int[Tensor, "batch time"]:
        """Token ids of one text or several, padded; `tokenize_batch` also gives the mask."""
        return self.tokenize_batch(text, prepend_bos, padding_side)[0]

    def tokenize_batch(
        self,
        text: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] = "left",
    ) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """Token ids and mask (1 at tokens, 0 at padding). See `Tokens.encode` for `prepend_bos` and the errors."""
        tokens, mask = self.tokens.encode(text, prepend_bos, padding_side)
        return tokens.to(self.cfg.device), mask.to(self.cfg.device)

    def to_string(self, tokens: Tensor | Sequence[int]) -> str | list[str]:
        """Text of one row of tokens, or of each row of a batch."""
        return self.tokens.decode(tokens)

    def to_str_tokens(self, text: str | Int[Tensor, "*one time"], prepend_bos: bool | None = None) -> list[str]:
        """Each token of one text (or of one row of tokens) as text of its own."""
        tokens = self.to_tokens(text, prepend_bos) if isinstance(text, str) else torch.as_tensor(text)
        if tokens.dim() == 2 and len(tokens) != 1:
            raise InputError(f"to_str_tokens takes one row of tokens; these are {len(tokens)}.")
        return self.tokens.pieces(tokens.reshape(-1))

    def prepared(
        self, input: ModelInput, attention_mask: Any, prepend_bos: bool | None = None, new: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Checked tokens and mask on the model's device; a mask of ones is dropped."""
        if self.wrapped not in _hooked:
            raise InputError(f"{self.cfg.model_name} was unwrapped; load or wrap it again to run it with hooks.")
        if isinstance(input, str) or (isinstance(input, Sequence) and all(isinstance(one, str) for one in input)):
            if attention_mask is not None:
                raise InputError("An attention mask goes with tokens; texts get theirs from the tokenizer.")
            tokens, attention_mask = self.tokens.encode(input, prepend_bos)  # type: ignore[arg-type]
        else:
            tokens = as_integers("Tokens", input)
        if tokens.dim() == 1:
            tokens = tokens[None]
        if attention_mask is not None:
            attention_mask = as_integers("An attention mask", attention_mask)
        if attention_mask is not None and attention_mask.dim() == 1:
            attention_mask = attention_mask[None]
        self.tokens.checked(tokens, attention_mask, new)
        tokens = tokens.to(self.cfg.device)
        if attention_mask is None or bool(attention_mask.all()):
            return tokens, None
        return tokens, attention_mask.to(self.cfg.device).long()


def whole_number(what: str, number: object) -> int:
    """A layer, head or position number as an int; `what` names it in the refusal. Raises InputError for a fraction."""
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{number!r} is no {what} number; {what}s are counted with whole numbers from 0.") from None
