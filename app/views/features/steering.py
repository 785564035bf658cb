"""What a model writes with a feature held up or taken out, beside what it writes without."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workbench.app.views.features.stores import OpenStore
from workbench.app.views.features.trying import check_same_model
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.using import Steering, steer_features, strengths_for

Ways = Literal["add", "clamp", "ablate"]

WAYS: dict[Ways, str] = {
    "add": "add to it",
    "clamp": "hold it at",
    "ablate": "take it out (hold it at 0)",
}

MOST_STRENGTHS, MOST_TOKENS = 6, 200

LEVELS = {"Slight": 0.1, "Clear": 0.4, "Strong": 0.8}
"""Divergences in nats a token for which strengths are searched where none are given, and what each is called.

Of the 20 most telling features of each model of the zoo that has an autoencoder, at the default temperature, all change
the text at 0.1; at 0.8 one word in six to two in five is none of the store's text.
"""


@dataclass(frozen=True)
class Steer:
    """What is asked of a steered run.

    Attributes:
        strengths: in multiples of the feature's largest activation, empty to search those of `LEVELS`; not looked at
            by ``ablate``.
        tokens: to write.
        temperature: 0 takes the likeliest token.
    """

    how: Ways = "add"
    strengths: tuple[float, ...] = ()
    tokens: int = 40
    temperature: float = 0.9  # at 0.8 some of the zoo repeat themselves as if greedy, at 1 all spell worse
    seed: int = 0


def parse_strengths(said: str) -> tuple[float, ...]:
    """Strengths out of a list such as ``0.5, 1, 2``; none out of an empty one, which asks for a search.

    Raises:
        InputError: one is no number, or there are none but 0, or too many.
    """
    if not said.strip():
        return ()
    parts = [part for part in re.split(r"[,;\s]+", said.strip()) if part]
    try:
        found = tuple(dict.fromkeys(float(part) for part in parts))
    except ValueError as error:
        raise InputError(f"Strengths are numbers with commas between them, such as 0.5, 1, 2; not {said!r}.") from error
    found = tuple(one for one in found if one)
    if not found or len(found) > MOST_STRENGTHS or not all(abs(one) <= 1000 for one in found):
        raise InputError(f"Give 1 to {MOST_STRENGTHS} strengths other than 0, such as 0.5, 1, 2, each at most 1000.")
    return found


def steered(model: HookedModel, opened: OpenStore, feature: int, most: float, prompt: str, asked: Steer) -> Steering:
    """Run it.

    Args:
        most: the feature's largest activation, in which strengths count.

    Raises:
        InputError: the store is of other weights; a dead feature, which has no largest activation.
    """
    check_same_model(model, opened)
    how, unit, strengths = _plan(feature, most, asked)
    sae = opened.store.sae.to(model.cfg.device)
    if not strengths:
        plain = model.generate(
            prompt, asked.tokens, temperature=asked.temperature, seed=asked.seed, return_type="tokens"
        )
        strengths = strengths_for(model, sae, plain, {feature: unit}, list(LEVELS.values()), how=how)
    return steer_features(
        model,
        sae,
        prompt,
        {feature: unit},
        strengths=strengths,
        how=how,
        max_new_tokens=asked.tokens,
        temperature=asked.temperature,
        seed=asked.seed,
    )


def _plan(feature: int, most: float, asked: Steer) -> tuple[str, float, tuple[float, ...]]:
    """How, the value at strength 1, and the strengths."""
    if asked.how == "ablate":
        return "clamp", 0.0, (1.0,)
    if not most > 0:
        raise InputError(f"Feature {feature} never fires, so there is no largest activation to count strengths in.")
    return asked.how, most, asked.strengths


def levels_of(found: Steering, asked: Steer) -> dict[float, str]:
    """What the strengths that were searched are called; empty where they were given, or where two levels are one."""
    others = [strength for strength in found.strengths if strength]
    searched = asked.how != "ablate" and not asked.strengths
    return dict(zip(others, LEVELS, strict=True)) if searched and len(others) == len(LEVELS) else {}


def called(strength: float, how: Ways, level: str = "") -> str:
    """What a column of text is headed by."""
    if strength == 0:
        return "Unsteered"
    if how == "ablate":
        return "Without the feature"
    sign = "+" if how == "add" and strength > 0 else "" if how == "add" else "at "
    return f"{level}{': ' if level else ''}{sign}{strength:g} × its largest activation"
