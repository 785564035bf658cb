"""What is known of language models shows on SmolLM2-135M-Instruct in tasks made of words."""

from __future__ import annotations

import pytest

from workbench.model import HookedModel
from workbench.tasks import (
    evaluate,
    garden_path_effect,
    garden_paths,
    ordinals,
    repeat_surprisal,
    repeated_noun_list,
    score_model,
)

pytestmark = pytest.mark.slow


def test_a_list_of_nouns_is_remembered_word_by_word_and_in_its_order(smollm2: HookedModel) -> None:
    share = {
        second: repeat_surprisal(score_model(smollm2, repeated_noun_list(smollm2, 5, second=second, batch=4, gap=20)))
        for second in ("same", "permuted", "new")
    }
    assert share["same"].high < 0.2 < share["permuted"].low
    assert share["permuted"].high < share["new"].mean


def test_a_pass_key_is_found_again(smollm2: HookedModel) -> None:
    found = evaluate(smollm2, "passkey", length=120, batch=3).set_index("measure")["mean"]
    assert found["accuracy"] > 0.9 and found["preference"] == 1


def test_the_disambiguating_word_surprises_more_on_a_garden_path(smollm2: HookedModel) -> None:
    assert garden_path_effect(score_model(smollm2, garden_paths(smollm2, batch=24))).low > 1.5


def test_what_comes_next_is_known_of_every_class(smollm2: HookedModel) -> None:
    scores = score_model(smollm2, ordinals(smollm2, batch=8))
    for label in scores.task.label_names:
        # Far above chance: 1 in 7 for the smallest class, and the last word shown is the likeliest mistake.
        assert scores.interval("accuracy", label).mean >= 0.5
        assert scores.interval("logit_difference", label).low > 1
