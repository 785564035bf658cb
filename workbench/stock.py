"""How a wrapped module is called: one signature over transformers' decoders and recurrent models and the zoo."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import LoadError

# What the argument that carries the key-value cache or the recurrent state is called, newest spelling first.
CACHE_NAMES = ("past_key_values", "cache_params", "cache", "state")


@dataclass(frozen=True)
class StockOutput:
    """Logits, and what the next call needs to go on (None when no cache was asked for)."""

    logits: Float[Tensor, "batch time vocab"]
    cache: Any = None


class StockCall:
    """Calls a module's forward with the arguments it knows.

    Attributes:
        takes_positions: whether position ids can be passed.
        cache_name: what its cache argument is called; None for a module that cannot continue from a cache.

    A module may take ``past_key_values`` and have no room for it in what it returns (RecurrentGemma): the caller owns
    the cache then, and so one is made here.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = inspect.signature(module.forward).parameters
        self.module = module
        self._known = set(parameters)
        self.takes_positions = "position_ids" in parameters
        self.cache_name = next((name for name in CACHE_NAMES if name in parameters), None)
        annotation = inspect.signature(module.forward).return_annotation
        parts = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
        outputs = [part for part in parts if is_dataclass(part)]
        self._keeps_cache_to_itself = self.cache_name == "past_key_values" and any(
            not any(field.name in CACHE_NAMES for field in fields(output)) for output in outputs
        )
        if "input_ids" not in parameters:
            raise LoadError(
                f"{type(module).__name__}.forward takes no input_ids; a language model over token ids is needed."
            )

    def __call__(
        self,
        tokens: Int[Tensor, "batch time"],
        attention_mask: Int[Tensor, "batch source"] | None = None,
        position_ids: Int[Tensor, "batch time"] | None = None,
        cache: Any = None,
        use_cache: bool = False,
    ) -> StockOutput:
        """One forward pass. `attention_mask` is 1 at tokens and 0 at padding, cached tokens included."""
        arguments: dict[str, Any] = {"input_ids": tokens, "use_cache": use_cache}
        if attention_mask is not None:
            arguments["attention_mask"] = attention_mask
        if position_ids is None and cache is not None:
            position_ids = following_positions(cache, tokens)  # Bamba would start again at 0
        if position_ids is not None and self.takes_positions:
            arguments["position_ids"] = position_ids
        if cache is None and use_cache and self._keeps_cache_to_itself:
            from transformers import DynamicCache

            config: Any = self.module.config
            cache = DynamicCache(config=config)
        if cache is not None and self.cache_name is not None:
            arguments[self.cache_name] = cache
        out = self.module(**{name: value for name, value in arguments.items() if name in self._known})
        logits = getattr(out, "logits", None)
        if logits is None:
            raise LoadError(
                f"{type(self.module).__name__} returns no logits; load the variant with a language-modelling head "
                "(…ForCausalLM)."
            )
        following = next((getattr(out, name) for name in CACHE_NAMES if getattr(out, name, None) is not None), None)
        if self._keeps_cache_to_itself:
            following = cache
        return StockOutput(logits, following)


def positions(attention_mask: Int[Tensor, "batch source"]) -> Int[Tensor, "batch source"]:
    """Positions that count real tokens only, as transformers' generation counts them for left-padded rows."""
    counted = attention_mask.long().cumsum(-1) - 1
    return counted.masked_fill(attention_mask == 0, 0)


@contextmanager
def leaving_no_trace(module: nn.Module) -> Iterator[None]:
    """Calls inside this change nothing that `module` remembers: RecurrentGemma keeps its states as plain attributes."""
    remembered = [
        (vars(part), name, value)
        for part in module.modules()
        for name, value in vars(part).items()
        if value is None or isinstance(value, Tensor)
    ]
    try:
        yield
    finally:
        for attributes, name, value in remembered:
            attributes[name] = value


def following_positions(cache: Any, tokens: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"] | None:
    """Positions of tokens that follow those in a cache of transformers; None where no layer of it counts tokens."""
    layers = [layer for layer in getattr(cache, "layers", ()) if hasattr(layer, "get_seq_length")]
    if not layers:
        return None
    seen = int(layers[0].get_seq_length())
    return (torch.arange(tokens.shape[1], device=tokens.device) + seen).expand(tokens.shape)
