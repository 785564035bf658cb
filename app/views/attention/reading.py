"""What a model did with a text, read once and asked about every head, token and entry after that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.app.views.attention.choosing import HeadChoice
from workbench.attention import ImplicitAttention
from workbench.cache import ActivationCache
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.weights import output_weights


@dataclass(frozen=True)
class Reading:
    """One mixer on one text.

    Attributes:
        tokens, ids: of every token.
        attention: all its matrices, none of them built.
        error: relative error of the matrices times the values against the layer's own output, over a sample.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    attention: ImplicitAttention
    error: float


@torch.no_grad()
def read_mixer(model: HookedModel, prompt: str, choice: HeadChoice) -> Reading:
    """Run a model up to the layer of a choice; its head and measure do not matter.

    Raises:
        InputError: no such layer or mixer.
    """
    ids = model.to_tokens(prompt)
    attention = model.implicit_attention(ids, choice.layer, scope=choice.scope, mixer=choice.mixer)
    return Reading(tuple(model.to_str_tokens(ids[0])), tuple(ids[0].tolist()), attention, attention.check())


def checked_head(reading: Reading, choice: HeadChoice) -> ImplicitAttention:
    """The matrices, once the choice is known to be one of them.

    Raises:
        InputError: no such head.
    """
    attention = reading.attention
    if not 0 <= choice.head < attention.units:
        raise InputError(
            f"Layer {choice.layer} has {attention.unit}s 0 to {attention.units - 1}; {choice.head} is not one of them."
        )
    return attention


def output_rows(model: HookedModel, choice: HeadChoice, attention: ImplicitAttention) -> Tensor:
    """The rows of the output matrix that a head, or a channel, is written through, ``[each, d_model]``.

    Raises:
        InputError: the mixer does not write into the residual stream.
    """
    weights = output_weights(model, choice.layer, choice.mixer)
    if attention.unit == "head":
        return weights[choice.head]
    return weights.flatten(0, 1)[choice.head : choice.head + 1]


@torch.no_grad()
def read_stream(model: HookedModel, prompt: str) -> Float[Tensor, "batch time d_model"]:
    """The residual stream that the final norm reads."""
    last = _last(model)
    _, cache = model.run_with_cache(model.to_tokens(prompt), names_filter=[last])
    return cache[last]


def stream_cache(model: HookedModel, stream: Float[Tensor, "batch time d_model"]) -> ActivationCache:
    """A cache with nothing in it but that stream, which is enough for what a vector does to the logits."""
    return ActivationCache({_last(model): stream}, model.points, model.cfg.n_layers, model)


def _last(model: HookedModel) -> str:
    return f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
