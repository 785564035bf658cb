"""Metrics against closed forms and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from torch import Tensor

from workbench.errors import InputError
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.metrics import METRICS, Divergence, LogitDifference, Loss, Preference
from workbench.studies.metrics.metric import MetricKind

PROMPT = Prompt((1, 2, 3, 4), (0, 2, 3), (2, 0, 1), ((0, 4), (), (3,)))
VOCABULARY = 5


def logits(seed: int) -> Tensor:
    return torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def measured(word: str, edited: Tensor, baseline: Tensor, prompt: Prompt = PROMPT) -> float:
    kind: MetricKind = METRICS.parse(word)
    return kind.measure(edited, baseline, prompt)


def test_every_metric_is_what_scipy_says() -> None:
    edited, baseline = logits(0), logits(1)
    after, before = edited.double().numpy(), baseline.double().numpy()
    answers = np.array(PROMPT.answers)
    picked = log_softmax(after, axis=1)[np.arange(3), answers]
    expected = {
        "loss": -picked.mean(),
        "accuracy": (after.argmax(1) == answers).mean(),
        "probability": np.exp(picked).mean(),
        "entropy": entropy(softmax(after, axis=1), axis=1).mean(),
        "kl": entropy(softmax(before, axis=1), softmax(after, axis=1), axis=1).mean(),
        "top1_change": (after.argmax(1) != before.argmax(1)).mean(),
        "logit_difference": np.mean([after[0, 2] - (after[0, 0] + after[0, 4]) / 2, after[2, 1] - after[2, 3]]),
        "preference": np.mean([after[0, 2] > max(after[0, 0], after[0, 4]), after[2, 1] > after[2, 3]]),
    }
    assert set(expected) <= set(METRICS.words)
    for word, value in expected.items():
        assert measured(word, edited, baseline) == pytest.approx(value, rel=1e-5), word


def test_tokens_that_are_ruled_out_cost_nothing() -> None:
    edited, baseline = logits(0), logits(1)
    edited[:, 4] = baseline[:, 4] = -math.inf
    assert measured("entropy", edited, baseline) == pytest.approx(measured("entropy", edited[:, :4], baseline[:, :4]))
    assert measured("kl", edited, baseline) == pytest.approx(measured("kl", edited[:, :4], baseline[:, :4]), rel=1e-5)
    assert measured("kl", baseline, baseline) == 0.0


def test_narrow_types_are_measured_in_float32() -> None:
    narrow = logits(0).bfloat16()
    assert measured("loss", narrow, narrow) == measured("loss", narrow.float(), narrow)


def test_a_prompt_without_foils_is_refused() -> None:
    without = Prompt(PROMPT.tokens, PROMPT.scored, PROMPT.answers)
    for word in ("logit_difference", "preference"):
        with pytest.raises(InputError, match=f"'{word}' .* no foils"):
            measured(word, logits(0), logits(1), without)


def test_names_and_what_reads_the_baseline() -> None:
    assert (Loss().name, LogitDifference().name, Preference().name) == ("loss", "logit_difference", "preference")
    assert Divergence.reads_baseline and not Loss.reads_baseline
