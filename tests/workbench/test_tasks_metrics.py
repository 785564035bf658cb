import math

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import bootstrap_mean, bootstrap_means, repeated_random_tokens, score_logits


def test_an_oracle_that_copies_is_right_on_the_second_copy_and_at_chance_on_the_first() -> None:
    vocabulary = 30
    task = repeated_random_tokens(vocabulary, block=6, batch=4)
    logits = torch.zeros(task.batch, task.time, vocabulary)
    determined = task.sources >= 0
    rows, columns = determined.nonzero(as_tuple=True)
    # Written with the sources only, so that answers and sources are held to each other.
    copied = task.tokens[rows, task.sources[rows, columns]]
    logits[rows, task.positions[rows, columns], copied] = 50.0
    scores = score_logits(logits, task)
    assert scores.interval("loss", "first").mean == pytest.approx(math.log(vocabulary))
    assert scores.interval("loss", "second").mean == pytest.approx(0, abs=1e-6)
    assert scores.interval("accuracy", "second") == (1, 1, 1)


def test_loss_is_the_negative_log_probability_in_nats() -> None:
    task = repeated_random_tokens(9, block=3, batch=2)
    logits = torch.randn(2, task.time, 9, dtype=torch.bfloat16)
    loss = score_logits(logits, task).loss
    for row in range(2):
        for column, (position, answer) in enumerate(zip(task.positions[row], task.answers[row], strict=True)):
            expected = -logits[row, position].float().softmax(-1)[answer].log()
            assert loss[row, column] == pytest.approx(float(expected), abs=1e-5)


def test_scores_refuse_what_is_not_there() -> None:
    task = repeated_random_tokens(9, block=3, batch=2)
    scores = score_logits(torch.zeros(2, task.time, 9), task)
    with pytest.raises(InputError, match=r"'third'; there is: first, second"):
        scores.per_sequence("loss", "third")
    with pytest.raises(InputError, match=r"'perplexity'; there is: loss, accuracy"):
        scores.per_sequence("perplexity", "first")
    with pytest.raises(InputError, match="do not belong together"):
        score_logits(torch.zeros(2, task.time - 1, 9), task)


def test_bootstrap_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(40, 2000, generator=generator).exp()
    _, low, high = bootstrap_means(samples, level=0.9, draws=400)
    covered = ((low <= math.exp(0.5)) & (math.exp(0.5) <= high)).double().mean()
    # The percentile interval of a skewed sample of 40 covers a little less than its name.
    assert 0.82 < float(covered) < 0.92


def test_bootstrap_width_is_that_of_the_normal_theory() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1))
    mean, low, high = bootstrap_mean(values, draws=4000)
    assert mean == pytest.approx(float(values.double().mean()))
    assert (high - low) / 2 == pytest.approx(1.96 * float(values.std()) / 20, rel=0.05)


def test_columns_are_independent_of_how_many_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(6, 50)
    whole = bootstrap_means(values)
    monkeypatch.setattr("workbench.tasks.intervals._COLUMNS_AT_ONCE", 7)
    parts = bootstrap_means(values)
    for ours, theirs in zip(whole, parts, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_one_unit_has_no_interval_and_none_has_no_mean() -> None:
    mean, low, high = bootstrap_mean(torch.tensor([2.0]))
    assert mean == 2 and math.isnan(low) and math.isnan(high)
    with pytest.raises(InputError, match="no units"):
        bootstrap_mean(torch.tensor([]))
    with pytest.raises(InputError, match="coverage between 0 and 1"):
        bootstrap_mean(torch.ones(3), level=95)


def test_a_single_unit_has_no_interval_and_a_warning_says_so() -> None:
    with pytest.warns(UserWarning, match="takes at least two windows of text; of a single one its limits are NaN"):
        found = bootstrap_means(torch.ones(1, 3), units="windows of text")
    assert found.mean.tolist() == [1, 1, 1]
    assert bool(found.low.isnan().all()) and bool(found.high.isnan().all())
