"""A label that the program proposes for a feature: a rule about the tokens it fires at, and the tokens it raises."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workbench.app.views.features.stores import OpenStore
from workbench.errors import InputError
from workbench.figures.tokens import visible_token
from workbench.saes.features.explaining import explain_features

AUTHOR = "tokens and logits"
"""Who made such a label, as the store keeps it."""

RAISED = 3
"""Tokens with the largest positive logits that a label names."""

LONGEST_LABEL = 300

HOW = (
    "made by a rule, without a language model: the simplest pattern of tokens that tells where it fires from where it "
    "does not, then the tokens that it raises most"
)


@dataclass(frozen=True)
class Proposal:
    """A proposed label.

    Attributes:
        detection: balanced accuracy of its pattern on texts that it was not made of, 0.5 by chance; None where there
            are too few texts.
    """

    feature: int
    label: str
    detection: float | None


def proposal(opened: OpenStore, feature: int) -> Proposal:
    """Propose a label; nothing is saved. Raises InputError for a dead feature."""
    row = explain_features(opened.store, [feature], save=False).iloc[0]
    logits = opened.store.logits(feature)
    raised = logits[logits["effect"] > 0].head(RAISED)["token"]
    makes = f"; raises {' '.join(map(visible_token, raised))}" if len(raised) else ""
    room = LONGEST_LABEL - len(makes)
    pattern = _briefly(str(row["label"]))
    pattern = pattern if len(pattern) <= room else pattern[: room - 1] + "…"
    score = float(row["detection"])
    return Proposal(feature, pattern + makes, None if math.isnan(score) else score)


def _briefly(pattern: str) -> str:
    """The name of a pattern without what all names begin with: a list of features has little room."""
    if pattern.startswith(before := "the token before is one of "):
        return f"after {pattern.removeprefix(before)}"
    return pattern.removeprefix("the token is one of ").removeprefix("the token ")


def save_proposal(opened: OpenStore, feature: int) -> Proposal:
    """Propose a label and keep it, marked as automatic.

    Raises:
        InputError: a dead feature; a person has labelled it, and that label stands; the labels cannot be written.
    """
    made = proposal(opened, feature)
    if not opened.store.labels.set(feature, made.label, "auto", author=AUTHOR, detection=made.detection):
        raise InputError(f"A person has labelled feature {feature}; that label stands. Empty the field to remove it.")
    return made
