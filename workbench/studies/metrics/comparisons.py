"""Metrics that compare: with wrong tokens (foils), and with what the unedited model predicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.metrics.answers import expectation, log_probabilities
from workbench.studies.metrics.metric import METRICS, MetricKind


def _tempted(
    metric: str, logits: Float[Tensor, "scored vocabulary"], prompt: Prompt
) -> Iterator[tuple[Float[Tensor, ""], Float[Tensor, " foils"]]]:
    """The answer's logit and those of the foils, at every scored position that has foils."""
    if not any(prompt.foils):
        raise InputError(f"The metric {metric!r} compares with wrong tokens, and a prompt has no foils.")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    for row, answer, foils in zip(wide, prompt.answers, prompt.foils, strict=True):
        if foils:
            yield row[answer], row[list(foils)]


@METRICS.register("logit_difference")
class LogitDifference(MetricKind):
    """Logit of the answer less the mean logit of the foils, over scored positions that have foils."""

    unit: ClassVar[str] = "logits"
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        found = [right.double() - wrong.double().mean() for right, wrong in _tempted(self.word, logits, prompt)]
        return float(torch.stack(found).mean())


@METRICS.register("preference")
class Preference(MetricKind):
    """Share of scored positions with foils at which the answer's logit is above every foil's."""

    unit: ClassVar[str] = "share of positions"
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        found = [(right > wrong).all() for right, wrong in _tempted(self.word, logits, prompt)]
        return float(torch.stack(found).double().mean())


@METRICS.register("kl")
class Divergence(MetricKind):
    """Kullback-Leibler divergence of the edited prediction from the unedited one, KL(unedited || edited), in nats."""

    reads_baseline: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        before, after = log_probabilities(baseline), log_probabilities(logits)
        return float(expectation(before.exp(), before - after).double().mean())


@METRICS.register("top1_change")
class TopChange(MetricKind):
    """Share of scored positions at which the likeliest token is another one than in the unedited model."""

    reads_baseline: ClassVar[bool] = True
    unit: ClassVar[str] = "share of positions"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        return float((logits.argmax(-1) != baseline.argmax(-1)).double().mean())
