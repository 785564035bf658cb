"""Held-out scores: what groups, control tasks and intervals are for."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from workbench.errors import InputError
from workbench.probes.linear import control_labels, evaluate_mass_mean, evaluate_probe, grouped_folds, held_out
from workbench.probes.linear.scores import GroupDraws, classification_scores, regression_scores
from workbench.tasks import bootstrap_means

from .planted import noise


def test_every_group_is_tested_once_and_whole() -> None:
    groups = np.random.default_rng(0).integers(12, size=100)
    tested = []
    for train, test in grouped_folds(groups, 4):
        assert not set(groups[train]) & set(groups[test])
        tested.extend(test.tolist())
    assert sorted(tested) == list(range(100))


def test_groups_held_out_show_what_a_random_split_hides() -> None:
    # Each group has a place of its own and a label drawn by lot: nothing carries over to other groups.
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    values = (generator.normal(size=(40, 60))[groups] + 0.05 * generator.normal(size=(400, 60))).astype(np.float32)
    labels = (np.arange(40) % 2)[generator.permutation(40)][groups]
    hidden = evaluate_probe(values, labels)
    honest = evaluate_probe(values, labels, groups=groups)
    assert hidden.score.low > 0.95
    assert honest.score.mean < 0.7 and honest.groups == 40
    # Ten rows of one group are not ten observations.
    assert honest.score.high - honest.score.low > 2 * (hidden.score.high - hidden.score.low)


def test_a_group_on_both_sides_is_refused_and_named() -> None:
    values, labels, groups = noise(8, 2), np.arange(8) % 2, np.array(list("aabbccdd"))
    test = np.array([0, 0, 0, 1, 1, 1, 1, 1], dtype=bool)
    with pytest.raises(InputError, match=r"1 groups leak: .*\(b\)"):
        evaluate_probe(values, labels, groups=groups, test=test)
    result = evaluate_probe(values, labels, groups=groups, test=np.arange(8) >= 4)
    assert result.rows.tolist() == [4, 5, 6, 7]


def test_nothing_of_the_tested_rows_reaches_the_fit() -> None:
    values, labels = noise(60, 5), np.arange(60) % 2
    test = np.arange(60) >= 40
    changed = values.copy()
    changed[test] = changed[test] * 1000 + 50
    before, after = (evaluate_probe(v, labels, test=test).probe for v in (values, changed))
    np.testing.assert_array_equal(before.weight, after.weight)


def test_selectivity_is_high_for_a_real_label_and_near_zero_where_types_are_memorised() -> None:
    generator = np.random.default_rng(0)
    types = generator.integers(40, size=2000)
    groups = np.arange(2000) // 20
    # One feature a type: any labelling of the types can be learned, so the real score means nothing.
    names = np.eye(40, dtype=np.float32)[types]
    memorised = evaluate_probe(names, types % 2, groups=groups, types=types)
    assert memorised.score.mean > 0.99 and memorised.control.mean > 0.99
    assert abs(memorised.selectivity.mean) < 0.01
    # The label alone is a direction, the types are not told apart.
    label = (types % 2).astype(np.float32)
    real = evaluate_probe(noise(2000, 5) * 0.3 + label[:, None], types % 2, groups=groups, types=types)
    assert real.score.mean > 0.95 and real.selectivity.low > 0.2
    assert real.selectivity.mean == pytest.approx(real.score.mean - real.control.mean)


def test_a_control_task_labels_types_by_lot_as_often_as_labels_occur() -> None:
    types = np.repeat(np.arange(3000), 2)
    labels = np.where(np.arange(6000) % 10 == 0, "rare", "common")
    control = control_labels(types, labels, seed=1)
    assert (control[::2] == control[1::2]).all()
    assert (control == "rare").mean() == pytest.approx(0.1, abs=0.02)
    assert (control != control_labels(types, labels, seed=2)).any()
    with pytest.raises(InputError, match="at least two types"):
        control_labels(np.zeros(6000), labels)


def test_scores_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    chances = generator.dirichlet([1, 1, 1], size=200)
    chances[:50] = chances[50:100]  # ties
    labels = np.array([generator.choice(3, p=row) for row in chances])
    draws = GroupDraws(np.arange(200))
    found = classification_scores(labels, chances, draws)
    assert found["accuracy"].mean == pytest.approx((chances.argmax(1) == labels).mean())
    assert found["auc"].mean == pytest.approx(roc_auc_score(labels, chances, multi_class="ovr"))
    assert found["log_loss"].mean == pytest.approx(log_loss(labels, chances))
    numbers = 1e4 + generator.normal(size=(200, 2))
    guesses = numbers + generator.normal(size=(200, 2))
    found = regression_scores(numbers, guesses, draws)
    assert found["r2"].mean == pytest.approx(r2_score(numbers, guesses))
    expected = np.mean([np.corrcoef(numbers[:, i], guesses[:, i])[0, 1] for i in range(2)])
    assert found["correlation"].mean == pytest.approx(expected)


def test_an_interval_of_a_mean_is_the_bootstrap_of_the_house() -> None:
    import torch

    right = np.random.default_rng(0).random(300) < 0.7
    chances = np.stack([~right, right], axis=1).astype(float)
    found = classification_scores(np.ones(300, dtype=int), chances, GroupDraws(np.arange(300)))["accuracy"]
    house = bootstrap_means(torch.tensor(right)[:, None].double())
    assert found.low == pytest.approx(float(house.low), abs=0.01)
    assert found.high == pytest.approx(float(house.high), abs=0.01)


def test_a_single_group_has_no_interval() -> None:
    found = regression_scores(noise(9, 1).astype(float), noise(9, 1, 1).astype(float), GroupDraws(np.zeros(9)))
    assert np.isnan(found["r2"].low) and np.isfinite(found["r2"].mean)


def test_the_table_says_everything() -> None:
    values = noise(200, 4)
    result = evaluate_probe(values, values[:, 0] > 0, types=np.arange(200) % 30)
    assert result.table()["score"].tolist() == ["accuracy", "auc", "log_loss", "control", "selectivity"]
    assert result.baseline == pytest.approx(max((values[:, 0] > 0).mean(), (values[:, 0] <= 0).mean()))
    assert evaluate_mass_mean(values, values[:, 0] > 0).score.mean > 0.9


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 7}, "6 groups cannot be held out in 7 folds"),
        ({"folds": 1}, "hold nothing out"),
        ({"groups": np.arange(5)}, "5 groups for 12 rows"),
        ({"test": np.ones(12, dtype=bool)}, "one side"),
        ({"test": np.ones(3, dtype=bool)}, "12 booleans"),
        ({"types": np.arange(3)}, "3 types for 12 labels"),
    ],
)
def test_splits_that_make_no_sense_are_refused(options, says) -> None:
    with pytest.raises(InputError, match=says):
        evaluate_probe(noise(12, 2), np.arange(12) % 2, **{"groups": np.arange(12) // 2, "folds": 3, **options})


def test_a_class_of_one_group_cannot_be_held_out() -> None:
    labels = np.array(["x"] * 4 + ["y", "z"] * 4)
    with pytest.raises(InputError, match="Class x is in no training group"):
        evaluate_probe(noise(12, 2), labels, groups=np.array([0] * 4 + [1, 1, 2, 2, 3, 3, 4, 4]), folds=5)


def test_held_out_gives_the_two_sides() -> None:
    ((train, test),) = held_out(np.array([1, 1, 2]), np.array([False, False, True]))
    assert train.tolist() == [0, 1] and test.tolist() == [2]
