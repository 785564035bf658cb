"""What a family is to the contract suite, and how its small random models are built and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import MixerForm
from workbench.model import HookedModel
from workbench.stock import StockCall, positions
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

VOCABULARY, BATCH, TIME, PADS = 40, 2, 19, 6


@dataclass(frozen=True)
class Case:
    """A family in the contract suite.

    Attributes:
        build: a small random model; sizes that differ from each other (K != V, groups, odd numbers) find more faults.
        layer: a layer whose mixer is the family's.
        padding: whether the stock class is right about left padding; False where it ignores the mask (say why there).
        cache: whether the stock class can go on from a cache with one token.
        chunks: whether it can with several tokens, too.
        mask_in_decoding: whether the stock class takes the mask of a left-padded batch while decoding, too.
        float64: how close the logits of float64 models are to stock's, where stock itself computes in float64.
        nudge: how far every parameter is moved from its initial value, so that no zero or one hides a fault.
        conditional: whether the gates read the state (LSTM): then impulses hold them fixed by the record alone.
    """

    build: Callable[[], nn.Module]
    layer: int = 1
    padding: bool = True
    cache: bool = True
    chunks: bool = True
    mask_in_decoding: bool = True
    float64: float = 1e-9
    nudge: float = 0.2
    conditional: bool = False


def since(version: str) -> bool:
    """Whether the installed transformers is at least that version: what a case has to get around in older ones."""
    import transformers
    from packaging.version import Version

    return Version(transformers.__version__) >= Version(version)


def zoo(mixer: str, **options: Any) -> Callable[[], nn.Module]:
    """A small zoo model with that mixer."""
    return lambda: ZooModel(
        ZooConfig(mixer, vocab_size=VOCABULARY, d_model=12, n_layers=2, d_mlp=16, mixer_options=options)
    )


def build(case: Case, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The case's model with every parameter moved away from its initial value, in evaluation mode."""
    torch.manual_seed(0)
    model = case.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(case.nudge * torch.randn_like(parameter))
    return model.to(dtype).eval()


def batch_of_tokens() -> tuple[Tensor, Tensor]:
    """Two sequences, the second left-padded; tokens and mask."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCABULARY, (BATCH, TIME), generator=generator)
    mask = torch.ones(BATCH, TIME, dtype=torch.long)
    mask[1, :PADS] = 0
    return tokens, mask


def stock(model: nn.Module, tokens: Tensor, mask: Tensor | None = None, cache: Any = None, keep: bool = False) -> Any:
    """Logits of a module that may or may not be hooked, and the cache when `keep` asks for one."""
    where = None if mask is None else positions(mask)[:, -tokens.shape[1] :]
    with torch.no_grad(), all_in_float64(next(model.parameters()).dtype):
        out = StockCall(model)(tokens, mask, where, cache, use_cache=keep)
    return (out.logits, out.cache) if keep else out.logits


@contextmanager
def hooked(model: nn.Module) -> Iterator[HookedModel]:
    """The model wrapped for the duration of a ``with`` block."""
    wrapped = HookedModel(model)
    try:
        yield wrapped
    finally:
        wrapped.unwrap()


def recurrent(wrapped: HookedModel, case: Case) -> RecurrentAdapter:
    """The adapter of the case's layer, running its recurrence step by step.

    Matrices come from the chunked closed forms: within one chunk these also make the layer's fast output, and an error
    of theirs would agree with itself.
    """
    adapter = wrapped.adapters[case.layer]
    assert isinstance(adapter, RecurrentAdapter)
    adapter.backend = "reference"
    return adapter


def record(case: Case, dtype: torch.dtype, padded: bool = True, split: int = 0) -> MixerForm:
    """What the case's mixer did to `batch_of_tokens`; with `split`, to what follows that many tokens in a cache."""
    model = build(case, dtype)
    tokens, mask = batch_of_tokens()
    forms: list[MixerForm] = []
    with hooked(model) as wrapped:
        cache = None
        if split:
            _, cache = stock(model, tokens[:, :split], mask[:, :split] if padded else None, keep=True)
            tokens = tokens[:, split:] if case.chunks else tokens[:, split : split + 1]
            mask = mask[:, : split + tokens.shape[1]]
        with recurrent(wrapped, case).recorded_by(forms.append):
            stock(model, tokens, mask if padded else None, cache, keep=bool(split))
    (form,) = forms
    return form


@contextmanager
def all_in_float64(dtype: torch.dtype) -> Iterator[None]:
    """For float64 models: stop stock code from casting to float32 inside, so that all of it is float64."""
    if dtype != torch.float64:
        yield
        return
    cast, to, type_ = torch.Tensor.float, torch.Tensor.to, torch.Tensor.type

    def wide(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        return to(self, *args, **{k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()})

    def wide_type(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return type_(self, *(torch.float64 if arg is torch.float32 else arg for arg in args), **kwargs)

    torch.Tensor.float, torch.Tensor.to = torch.Tensor.double, wide  # type: ignore[method-assign, assignment]
    torch.Tensor.type = wide_type  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        torch.Tensor.float, torch.Tensor.to = cast, to  # type: ignore[method-assign]
        torch.Tensor.type = type_  # type: ignore[method-assign]
