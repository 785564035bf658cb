"""The whole job on a real model: SmolLM2-135M-Instruct, 30 layers of 9 heads."""

import pandas as pd
import pytest

from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads
from workbench.tasks import repeated_random_tokens, score_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def induction(smollm2: HookedModel) -> pd.DataFrame:
    return find_heads(smollm2, "induction", batch=2, seeds=(0,))


def test_the_second_copy_of_fifty_random_tokens_is_predicted_from_the_first(smollm2: HookedModel) -> None:
    scores = score_model(smollm2, repeated_random_tokens(smollm2, 50, batch=4, seed=7))
    assert 12 < scores.interval("loss", "first").mean < 16
    assert 1 < scores.interval("loss", "second").mean < 4
    assert scores.interval("accuracy", "first").mean < 0.02
    assert scores.interval("accuracy", "second").mean > 0.5


def test_a_few_heads_of_270_attend_to_the_token_after_the_previous_occurrence(induction: pd.DataFrame) -> None:
    assert len(induction) == 270
    assert set(induction.site[:5]) == {"L18H6", "L17H3", "L17H4", "L17H5", "L18H7"}
    assert 6 <= (induction.score > 0.4).sum() <= 10
    assert (induction.excess[:12] > 0.2).all()


def test_without_these_heads_the_model_forgets_how_to_copy(smollm2: HookedModel, induction: pd.DataFrame) -> None:
    result = ablate_top_k(smollm2, induction, 8, batch=4, draws=4).set_index("condition")
    assert result.loc["top", "loss_second"] > result.loc["baseline", "loss_second"] + 3
    assert result.loc["top", "loss_second"] > result.loc["random", "loss_second_high"] + 2
    assert result.loc["top", "accuracy_second"] < result.loc["random", "accuracy_second_low"] - 0.3
    assert abs(result.loc["top", "loss_first"] - result.loc["baseline", "loss_first"]) < 1
