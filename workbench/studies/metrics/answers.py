"""How well a prompt's answers are predicted: loss, accuracy, probability, and the spread of the prediction."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.studies.inputs.prompt import Prompt
from workbench.studies.metrics.metric import METRICS, MetricKind


def log_probabilities(logits: Float[Tensor, "scored vocabulary"]) -> Float[Tensor, "scored vocabulary"]:
    """In float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def answers_of(prompt: Prompt, like: Tensor) -> Int[Tensor, "scored 1"]:
    """The correct tokens, as an index along the vocabulary."""
    return torch.tensor(prompt.answers, device=like.device)[:, None]


@METRICS.register("loss")
class Loss(MetricKind):
    """Negative log-probability of the answers, in nats."""

    unit: ClassVar[str] = "nats"
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        return -float(log_probabilities(logits).gather(-1, answers_of(prompt, logits)).double().mean())


@METRICS.register("accuracy")
class Accuracy(MetricKind):
    """Share of scored positions at which the answer is the likeliest token."""

    unit: ClassVar[str] = "share of positions"
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        return float((logits.argmax(-1, keepdim=True) == answers_of(prompt, logits)).double().mean())


@METRICS.register("probability")
class Probability(MetricKind):
    """Probability of the answers."""

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        return float(log_probabilities(logits).gather(-1, answers_of(prompt, logits)).double().exp().mean())


@METRICS.register("entropy")
class Entropy(MetricKind):
    """Entropy of the predicted distribution, in nats."""

    unit: ClassVar[str] = "nats"

    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        logs = log_probabilities(logits)
        return -float(expectation(logs.exp(), logs).double().mean())


def expectation(
    probabilities: Float[Tensor, "scored vocabulary"], values: Float[Tensor, "scored vocabulary"]
) -> Float[Tensor, " scored"]:
    """Mean of values; what cannot be counts nothing, even where its value is infinite (0 times -inf is NaN)."""
    return torch.where(probabilities > 0, probabilities * values, 0).sum(-1)
