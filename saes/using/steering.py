"""Steering by features, beside the same text without: what a model writes at several strengths, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.saes.using.edit import FeatureEdit, PerFeature
from workbench.saes.using.repeats import repeated_ngrams
from workbench.tokens import check_choice
from workbench.wrapping import ModelInput

How: TypeAlias = Literal["clamp", "add"]


@dataclass(frozen=True)
class Steering:
    """What a model wrote at each strength, from the same prompt with the same seed.

    Attributes:
        prompt: what it went on from, as text.
        features: value of each feature at strength 1, in units of activation.
        how: ``"clamp"`` or ``"add"``.
        strengths: 0 first, which is the unsteered model.
        texts: the continuation at each strength.
        kl: mean divergence in nats a token of the steered from the unsteered model's predictions, on the unsteered
            text.
        loss: next-token loss in nats on the text that the cost is measured on.
        repetition: share of repeated 4-grams in the continuation (`repeated_ngrams`).
    """

    prompt: str
    features: dict[int, float]
    how: str
    strengths: tuple[float, ...]
    texts: tuple[str, ...]
    kl: tuple[float, ...]
    loss: tuple[float, ...]
    repetition: tuple[float, ...]

    @property
    def unsteered(self) -> str:
        """The continuation at strength 0."""
        return self.texts[0]

    def table(self) -> pd.DataFrame:
        """One row a strength: ``strength``, ``text``, ``kl``, ``loss``, ``loss_increase`` and ``repetition``."""
        return pd.DataFrame(
            {
                "strength": self.strengths,
                "text": self.texts,
                "kl": self.kl,
                "loss": self.loss,
                "loss_increase": [loss - self.loss[0] for loss in self.loss],
                "repetition": self.repetition,
            }
        )


STRENGTHS = tuple(2.0**power for power in range(-6, 5))
"""Strengths at which `strengths_for` measures: 1/64 to 16."""


@torch.no_grad()
def strengths_for(
    model: HookedModel,
    sae: SparseAutoencoder,
    text: ModelInput,
    features: Mapping[int, float],
    kl: Sequence[float],
    *,
    how: str = "clamp",
    keep_error: bool = True,
    site: VectorSite | None = None,
    progress: bool = False,
) -> tuple[float, ...]:
    """Strengths of `steer_features` at which the predictions diverge so much, in nats a token.

    The divergence is measured at `STRENGTHS`; between two of these it is taken to be a power of the strength. Results
    have two digits.

    Args:
        text: what the divergence is measured on, one text or its tokens.
        features: value by feature at strength 1, in units of activation.
        kl: the divergences, above 0.
        how, keep_error, site: as in `steer_features`.

    Returns:
        a strength for each of `kl`; the smallest or largest of `STRENGTHS` where none between them diverges so much.

    Raises:
        InputError: a divergence that is not above 0; several texts; or as `FeatureEdit.clamp`.
    """
    if not all(one > 0 for one in kl):
        raise InputError(f"A divergence is looked for above 0; these are {', '.join(f'{one:g}' for one in kl)}.")
    tokens, _ = model.prepared(text, None)
    if len(tokens) > 1:
        raise InputError(f"One text is steered at a time; these are {len(tokens)}.")
    edits = _edits(sae, features, STRENGTHS, how, keep_error, site)
    plain, found = model(tokens), []
    for one in tracked(STRENGTHS, progress, "finding strengths"):
        with edits[one].applied(model):
            found.append(float(_divergence(plain, model(tokens))))
    # A divergence that falls again with strength is not looked into: the first strength that reaches it is wanted.
    reached = np.log(np.maximum(np.maximum.accumulate(found), 1e-12))
    at = np.exp([np.interp(np.log(one), reached, np.log(STRENGTHS)) for one in kl])
    return tuple(float(f"{one:.2g}") for one in at)


@torch.no_grad()
def steer_features(
    model: HookedModel,
    sae: SparseAutoencoder,
    prompt: ModelInput,
    features: Mapping[int, float],
    *,
    strengths: Sequence[float] = (1.0,),
    how: str = "clamp",
    maxima: PerFeature | None = None,
    text: ModelInput | None = None,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    top_p: float | None = None,
    seed: int = 0,
    keep_error: bool = True,
    site: VectorSite | None = None,
    progress: bool = False,
) -> Steering:
    """Let a model write with features held at values (or raised by them), and without, from the same prompt and seed.

    Templeton et al. 2024, "Scaling Monosemanticity": features clamped to multiples of their largest activation, what
    the autoencoder does not explain kept.

    Args:
        prompt: one text, or its tokens.
        features: value by feature, in units of activation, or of `maxima`.
        strengths: factors of all values; 0, the unsteered model, comes first whether it is named or not.
        how: ``"clamp"`` holds features at the values, ``"add"`` raises them by the values.
        maxima: the largest activation of each feature, if values count in it.
        text: what the cost is measured on, one text or its tokens; the prompt with its unsteered continuation by
            default.
        max_new_tokens, temperature, top_p, seed: as in `generate`; temperature 0 takes the likeliest token.
        keep_error, site: as in `FeatureEdit`.

    Raises:
        InputError: no strength, several prompts, or as `FeatureEdit.clamp`.
    """
    tokens, _ = model.prepared(prompt, None)
    if len(tokens) > 1:
        raise InputError(f"One prompt is steered at a time; these are {len(tokens)}.")
    others = [float(one) for one in dict.fromkeys(strengths) if float(one) != 0]
    if not others:
        raise InputError("There is no strength but 0, which is the unsteered model; give one, such as 1.")
    at_one = _values(sae, features, maxima)
    edits = _edits(sae, at_one, others, how, keep_error, site)

    def written() -> Tensor:
        found: Tensor = model.generate(
            tokens, max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, return_type="tokens"
        )
        return found

    whole = written()
    judged = whole if text is None else model.prepared(text, None)[0]
    logits, loss = model(judged, return_type="both")
    continuations, kl, losses = [whole[0, tokens.shape[1] :]], [0.0], [float(loss)]
    for one in tracked(others, progress, "steering"):
        with edits[one].applied(model):
            continuations.append(written()[0, tokens.shape[1] :])
            steered, loss = model(judged, return_type="both")
        kl.append(float(_divergence(logits, steered)))
        losses.append(float(loss))
    return Steering(
        prompt if isinstance(prompt, str) else str(model.to_string(tokens[0])),
        at_one,
        how,
        (0.0, *others),
        tuple(str(model.to_string(one)) for one in continuations),
        tuple(kl),
        tuple(losses),
        tuple(float(repeated_ngrams(one[None])[0]) for one in continuations),
    )


def _edits(
    sae: SparseAutoencoder,
    at_one: Mapping[int, float],
    strengths: Sequence[float],
    how: str,
    keep_error: bool,
    site: VectorSite | None,
) -> dict[float, FeatureEdit]:
    """The edit of each strength."""
    check_choice("how", how, get_args(How))
    make = FeatureEdit.clamp if how == "clamp" else FeatureEdit.add
    return {
        one: make(sae, {feature: one * value for feature, value in at_one.items()}, keep_error=keep_error, site=site)
        for one in strengths
    }


def _values(sae: SparseAutoencoder, features: Mapping[int, float], maxima: PerFeature | None) -> dict[int, float]:
    """Values in units of activation, checked as those of an edit are."""
    (part,) = FeatureEdit.clamp(sae, features, maxima=maxima).parts
    return dict(zip(part.features, part.values, strict=True))


def _divergence(plain: Float[Tensor, "1 time vocabulary"], steered: Float[Tensor, "1 time vocabulary"]) -> Tensor:
    """Mean KL divergence in nats a token, of the steered predictions from the plain ones."""
    first, second = (logits.double().log_softmax(-1) for logits in (plain, steered))
    return (first.exp() * (first - second)).sum(-1).mean()
