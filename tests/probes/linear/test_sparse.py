"""k-sparse probes name exactly the planted units."""

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.probes.linear import plot_by_k, select_units, sparse_sweep

from .planted import noise

PLANTED = {3, 17, 28}


@pytest.mark.parametrize("selection", ["mean_difference", "mutual_information", "l1", "adaptive"])
@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_the_planted_units_are_chosen_and_suffice(selection, kind) -> None:
    values = noise(600, 32)
    total = values[:, sorted(PLANTED)].sum(axis=1)
    labels = total > 0 if kind == "logistic" else total
    sweep = sparse_sweep(values, labels, kind, ks=[1, 3, 8], selection=selection, folds=3)
    table = sweep.table().set_index("k")
    assert set(table.loc[3, "units"]) == PLANTED
    assert sweep.stability[3] > 0.99
    score = "accuracy" if kind == "logistic" else "r2"
    assert table.loc[3, f"{score}_low"] > 0.9 > table.loc[1, score] + 0.1
    weights = sweep.results[3].probe.weight[0]
    assert set(np.nonzero(weights)[0]) == PLANTED


def test_l1_and_adaptive_leave_out_a_unit_that_only_repeats_another() -> None:
    # Unit 1 is a worse copy of unit 0; unit 2 says something new, more weakly.
    values = noise(2000, 6)
    values[:, 1] = values[:, 0] + 0.3 * noise(2000, 1, seed=1)[:, 0]
    labels = values[:, 0] + 0.6 * values[:, 2]
    standardised = (values / values.std(0)).astype(np.float64)
    for selection, chosen in (("mean_difference", {0, 1}), ("l1", {0, 2}), ("adaptive", {0, 2})):
        assert set(select_units(standardised, labels, "ridge", [2], selection)[2].tolist()) == chosen


def test_a_third_class_is_told_apart_by_its_own_unit() -> None:
    values = noise(900, 10)
    labels = np.arange(900) % 3
    for number, unit in enumerate((7, 2, 4)):
        values[labels == number, unit] += 5
    found = select_units(values.astype(np.float64), labels, "logistic", [3])[3]
    assert set(found.tolist()) == {7, 2, 4}


def test_units_are_chosen_on_training_rows_only() -> None:
    # Pure noise with more units than rows: units chosen on all rows would seem to predict held-out labels.
    values, labels = noise(60, 400), np.random.default_rng(3).integers(2, size=60)
    honest = sparse_sweep(values, labels, ks=[4]).results[4]
    chosen = values[:, list(honest.probe.units)]
    assert honest.score.low < 0.5
    assert (np.abs(np.corrcoef(chosen.T, labels)[-1, :-1]) > 0.3).all()


def test_the_default_sweep_ends_at_the_number_of_units() -> None:
    values = noise(80, 12)
    table = sparse_sweep(values, values[:, 0] > 0).table()
    assert table["k"].tolist() == [1, 2, 4, 8]
    assert [trace.name for trace in plot_by_k(table).data] == ["k-sparse", "commonest class"]


@pytest.mark.parametrize(
    ("ks", "selection", "says"),
    [
        ([5], "l1", "k is 5, and there are 4 units"),
        ([0], "l1", "k is 0"),
        ([2, 2], "l1", "given once"),
        ([], "l1", "at least one"),
        ([2], "best", "selection is 'best'"),
    ],
)
def test_ks_that_make_no_sense_are_refused(ks, selection, says) -> None:
    with pytest.raises(InputError, match=says):
        sparse_sweep(noise(20, 4), np.arange(20) % 2, ks=ks, selection=selection)
