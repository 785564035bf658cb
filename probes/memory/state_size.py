"""Bytes of state: what each mixer has to remember of a text, and what a model's cache holds in fact."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.forms import MixerForm, Softmax, Toeplitz
from workbench.model import HookedModel
from workbench.wrapping import ModelInput


@checked_call
def state_sizes(model: HookedModel, lengths: Sequence[int] = (256, 1024, 4096)) -> pd.DataFrame:
    """What every mixer remembers of one text, from its shapes and dtypes.

    A softmax keeps a key and a value a token and group, up to its window; a recurrence a state of fixed size, in
    float32 at least. Last inputs of short convolutions, token shifts and normalisers come on top: `cache_bytes` counts
    them, too.

    Args:
        lengths: tokens for which ``bytes_T`` columns are made.

    Returns:
        One row a mixer: ``layer``, ``mixer``, ``family``, ``heads`` (that keep something of their own), ``key`` and
        ``value`` (dimensions), ``fixed_bytes`` (of a recurrent state), ``bytes_per_token`` (of keys and values),
        ``window`` (tokens, infinite without one) and ``bytes_256``, ``bytes_1024``, ...

    Raises:
        InputError: a length below 1.
    """
    if any(length < 1 for length in lengths):
        raise InputError(f"Lengths are at least 1 token; got {[*lengths]}.")
    rows: list[dict[str, object]] = []
    tokens = torch.zeros(1, 2, dtype=torch.long)
    with torch.no_grad():
        for layer, attention in model.implicit_attentions(tokens, mixer=None):
            adapter = model.mixer(layer, attention.mixer)
            size = _size(attention.form, _window(adapter.module))
            row: dict[str, object] = {"layer": layer, "mixer": attention.mixer, "family": adapter.family, **size}
            row |= {f"bytes_{length}": _after(size, length) for length in lengths}
            rows.append(row)
    return pd.DataFrame(rows)


@checked_call
def state_bytes(model: HookedModel, length: int) -> int:
    """Bytes that a model's mixers remember of one text of `length` tokens; see `state_sizes`."""
    return int(state_sizes(model, [length])[f"bytes_{length}"].sum())


@checked_call
def cache_bytes(model: HookedModel, input: ModelInput) -> int:
    """Bytes that a model holds in fact after reading a text, a sequence: everything in its cache, by reading it.

    Raises:
        InputError: the model keeps nothing between calls.
    """
    state = model.prefill(input)
    return state.nbytes // len(state.tokens)


def _size(form: MixerForm, window: float) -> dict[str, int | float]:
    core = form.core
    item = core.v.element_size()
    if isinstance(core, Softmax):
        groups, key, value = core.k.shape[2], core.k.shape[3], core.v.shape[3]
        each = groups * (key * core.k.element_size() + value * item)
        return _row(groups, key, value, 0, each, window)
    key = core.kernel.shape[1] - 1 if isinstance(core, Toeplitz) else core.k.shape[3]
    return _row(core.heads, key, core.v.shape[3], core.heads * key * core.v.shape[3] * item, 0, float("inf"))


def _row(heads: int, key: int, value: int, fixed: int, each: int, window: float) -> dict[str, int | float]:
    return {
        "heads": heads,
        "key": key,
        "value": value,
        "fixed_bytes": fixed,
        "bytes_per_token": each,
        "window": window,
    }


def _after(size: dict[str, int | float], length: int) -> int:
    return int(size["fixed_bytes"] + size["bytes_per_token"] * min(length, size["window"]))


def _window(module: torch.nn.Module) -> float:
    """Tokens a mixer looks back at most; transformers' modules and the zoo's call it by different names."""
    for name in ("sliding_window", "window"):
        found = getattr(module, name, None)
        if isinstance(found, int):
            return found
    return float("inf")
