"""Tables of effects, controls, interactions, doses, layers and coverage of results put in by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.workbench.studies.statistics.made_up import MadeUp, a_study, an_edit, noise, together
from workbench.studies.statistics.coverage import coverage_notes, least_p
from workbench.studies.statistics.doses import dose_curves
from workbench.studies.statistics.effects import COLUMNS, effects_table
from workbench.studies.statistics.interactions import interactions_table
from workbench.studies.statistics.layers import layers_table
from workbench.studies.statistics.samples import make_samples

PROMPTS = 12


def row_of(table: pd.DataFrame, label: str, **more: object) -> pd.Series:
    chosen = table[table["label"] == label]
    for column, value in more.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_an_effect_is_the_mean_difference_with_its_own_test():
    strong, weak = noise(PROMPTS, 0, 1.0), noise(PROMPTS, 1, 0.0)
    table = effects_table(MadeUp(together(an_edit("L0H1", strong), an_edit("L1H0", weak))))
    assert list(table.columns) == COLUMNS
    found = row_of(table, "L0H1")
    assert found["effect"] == pytest.approx(strong.mean())
    assert (found["baseline"], found["value"]) == pytest.approx((2.0, 2.0 + strong.mean()))
    assert found["low"] < strong.mean() < found["high"]
    p = [
        stats.permutation_test((one,), np.mean, permutation_type="samples", n_resamples=2**PROMPTS).pvalue
        for one in (strong, weak)
    ]
    # 500 resamples are fewer than 4096 patterns: p is of random signs.
    assert table["p"].to_numpy() == pytest.approx(p, abs=0.05)
    assert table["q"].to_numpy() == pytest.approx(stats.false_discovery_control(table["p"]))
    assert list(table["significant"]) == [True, False]
    assert list(table["rank"]) == [1, 2]


def test_prompts_of_one_group_count_once():
    groups = ["a"] * 9 + ["b", "c", "d"]
    effects = [1.0] * 9 + [0.0, 0.0, 0.0]
    found = effects_table(MadeUp(an_edit("L0H0", effects, groups=groups))).iloc[0]
    assert found["effect"] == pytest.approx(0.25)
    assert (found["n"], found["prompts"]) == (4, 12)


def test_prompts_without_a_group_are_groups_of_their_own():
    found = effects_table(MadeUp(an_edit("L0H0", noise(6, 0), groups=[""] * 6))).iloc[0]
    assert found["n"] == 6


def test_what_is_not_a_number_is_counted_and_in_no_mean():
    broken = noise(PROMPTS, 0, 1.0)
    broken[3], broken[5] = np.nan, np.inf
    results = MadeUp(together(an_edit("L0H0", broken), an_edit("L0H1", noise(PROMPTS, 1))))
    table = effects_table(results)
    found = row_of(table, "L0H0")
    assert found["effect"] == pytest.approx(broken[np.isfinite(broken)].mean())
    assert (found["n"], found["missing"]) == (PROMPTS - 2, 2)
    assert row_of(table, "L0H1")["missing"] == 0
    notes = " ".join(coverage_notes(results, table))
    assert "2 measurements of loss in attention (heads) were not a finite number" in notes
    assert "1 of 2 effects lack some of the prompts" in notes


def test_units_that_failed_are_missing_from_their_edit_alone():
    frame = together(an_edit("L0H0", noise(PROMPTS, 0)), an_edit("L0H1", noise(PROMPTS, 1)))
    frame = frame[~((frame["label"] == "L0H0") & frame["prompt_id"].isin(["p000", "p004"]))]
    coverage = {"planned": 24, "done": 21, "failed": 2, "not_finite": {}, "reasons": {"no memory was left": 2}}
    results = MadeUp(frame, coverage=coverage)
    table = effects_table(results)
    assert list(table["missing"]) == [2, 0]
    notes = coverage_notes(results, table)
    assert notes[0] == "21 of 24 units were measured, 2 failed, 1 have not been run."
    assert notes[1] == "2 units failed: no memory was left"


def test_random_controls_are_no_hypotheses_and_rank_their_edit():
    edits = [an_edit("L0H1", np.full(PROMPTS, 1.0))]
    sizes = [0.2, -0.5, 1.5, 0.1]
    edits += [
        an_edit(f"L0H{2 + i}", np.full(PROMPTS, size), control_of="L0H1", edit_id=f"c{i}")
        for i, size in enumerate(sizes)
    ]
    edits.append(an_edit("L1H1", np.full(PROMPTS, 0.3)))
    table = effects_table(MadeUp(together(*edits)))
    found = row_of(table, "L0H1")
    assert found["controls"] == 4
    assert found["p_controls"] == pytest.approx(2 / 5)  # one of four is as large
    assert (found["control_low"], found["control_high"]) == pytest.approx((-0.5, 1.5))
    assert table.loc[table["control_of"].notna(), ["p", "q", "rank"]].isna().all(axis=None)
    assert not table.loc[table["control_of"].notna(), "significant"].any()
    other = row_of(table, "L1H1")
    assert other["controls"] == 0
    assert np.isnan(other["p_controls"])
    # two tests, not six
    assert found["q"] == pytest.approx(min(1, stats.false_discovery_control([found["p"], other["p"]])[0]))


def test_controls_of_another_dose_are_not_this_ones():
    edits = [an_edit("L0H1", np.full(PROMPTS, dose), dose=dose) for dose in (1.0, 2.0)]
    edits += [
        an_edit("L0H2", np.full(PROMPTS, size), dose=dose, control_of="L0H1") for dose, size in ((1.0, 5.0), (2.0, 0.0))
    ]
    table = effects_table(MadeUp(together(*edits)))
    assert row_of(table, "L0H1", dose=1.0)["p_controls"] == pytest.approx(1.0)
    assert row_of(table, "L0H1", dose=2.0)["p_controls"] == pytest.approx(0.5)


def test_a_split_ranks_on_one_half_and_reports_the_other():
    halves = []
    for label, discovered, confirmed in (("L0H0", 3.0, 0.1), ("L0H1", 1.0, 0.9)):
        for split, size, first in (("discover", discovered, 0), ("confirm", confirmed, 100)):
            part = an_edit(label, size + noise(PROMPTS, first, 0, 0.01), split=split)
            part["prompt_id"] = part["group"] = [f"{split}{i}" for i in range(PROMPTS)]
            halves.append(part)
    table = effects_table(MadeUp(together(*halves)))
    assert set(table["split"]) == {"confirm"}
    lucky, steady = row_of(table, "L0H0"), row_of(table, "L0H1")
    assert (lucky["discover"], lucky["effect"]) == pytest.approx((3.0, 0.1), abs=0.02)
    assert (lucky["rank"], steady["rank"]) == (1, 2)
    assert steady["effect"] == pytest.approx(0.9, abs=0.02)
    assert list(table["n"]) == [PROMPTS, PROMPTS]


def test_a_distance_from_the_unedited_run_is_not_tested():
    study = a_study(metrics=["loss", "kl"])
    frame = together(
        an_edit("L0H0", np.abs(noise(PROMPTS, 0))), an_edit("L0H0", np.abs(noise(PROMPTS, 1)), metric="kl", baseline=0)
    )
    table = effects_table(MadeUp(frame, study))
    assert table.loc[table["metric"] == "loss", "q"].iloc[0] < 0.05
    assert table.loc[table["metric"] == "kl", ["p", "q"]].isna().all(axis=None)
    assert not table.loc[table["metric"] == "kl", "significant"].iloc[0]


def test_families_and_models_are_corrected_apart():
    first = [an_edit(f"L0H{i}", noise(PROMPTS, i, 0.5)) for i in range(3)]
    second = [an_edit(f"L1H{i}", noise(PROMPTS, i, 0.5), family="others") for i in range(3)]
    alone = effects_table(MadeUp(together(*first)))
    both = effects_table(MadeUp(together(*first, *second)))
    assert list(both["q"][:3]) == pytest.approx(list(alone["q"]))
    assert list(both["q"][3:]) == pytest.approx(list(alone["q"]))


def test_one_edit_in_two_families_stands_in_both():
    frame = together(an_edit("L0H0", noise(6, 0)), an_edit("L0H0", noise(6, 0), family="again"))
    assert list(effects_table(MadeUp(frame))["family"]) == ["heads", "again"]


def test_what_is_left_of_a_difference_is_reported_where_there_are_corrupt_prompts():
    clean = 4 + noise(PROMPTS, 0, 0, 0.1)
    frame = an_edit("L0H0", np.full(PROMPTS, -3.0), baseline=clean).assign(corrupt=0.0)
    found = effects_table(MadeUp(frame)).iloc[0]
    assert found["restored"] == pytest.approx((clean - 3).mean() / clean.mean())
    assert found["restored_low"] <= found["restored"] <= found["restored_high"]
    plain = effects_table(MadeUp(frame.drop(columns="corrupt"))).iloc[0]
    assert np.isnan(plain["restored"])


def test_an_interaction_is_what_both_do_beyond_the_two():
    a, b = noise(PROMPTS, 0, 1.0), noise(PROMPTS, 1, 0.5)
    extra = noise(PROMPTS, 2, -0.8, 0.1)
    frame = together(an_edit("L0H1", a), an_edit("L1H0", b), an_edit("L0H1 + L1H0", a + b + extra))
    table = interactions_table(MadeUp(frame))
    assert len(table) == 1
    found = table.iloc[0]
    assert (found["first"], found["second"]) == ("L0H1", "L1H0")
    assert found["interaction"] == pytest.approx(extra.mean())
    assert found["low"] < extra.mean() < found["high"] < 0
    assert found["effect"] - found["effect_first"] - found["effect_second"] == pytest.approx(extra.mean())
    assert found["significant"]


def test_pairs_without_their_singles_have_no_interaction():
    frame = together(
        an_edit("L0H1", noise(6, 0)),
        an_edit("L1H0", noise(6, 1), method='{"kind":"mean"}'),
        an_edit("L0H1 + L1H0", noise(6, 2)),
    )
    assert interactions_table(MadeUp(frame)).empty


def test_singles_of_another_entry_serve_where_a_pairs_own_has_none():
    a, b = noise(6, 0), noise(6, 1)
    frame = together(
        an_edit("L0H1", a, family="each"),
        an_edit("L1H0", b, family="each"),
        an_edit("L0H1 + L1H0", a + b + 2.0, family="pairs"),
    )
    found = interactions_table(MadeUp(frame)).iloc[0]
    assert (found["family"], found["interaction"]) == ("pairs", pytest.approx(2.0))


def test_a_dose_curve_takes_two_doses():
    frame = together(
        an_edit("L0H0", noise(6, 0, 2), dose=2.0),
        an_edit("L0H0", noise(6, 1, 1), dose=1.0),
        an_edit("L0H1", noise(6, 2), dose=1.0),
        an_edit("L0H2", noise(6, 3)),
    )
    curves = dose_curves(effects_table(MadeUp(frame)))
    assert list(curves["label"]) == ["L0H0", "L0H0"]
    assert list(curves["dose"]) == [1.0, 2.0]


def test_a_layers_effect_is_the_mean_of_its_single_edits():
    frame = together(
        an_edit("L0H0", np.full(6, 1.0)),
        an_edit("L0H1", np.full(6, 3.0)),
        an_edit("L2H0", np.full(6, 5.0)),
        an_edit("L0H0 + L0H1", np.full(6, 100.0)),
        an_edit("L0H3", np.full(6, 100.0), control_of="L2H0"),
    )
    table = layers_table(MadeUp(frame))
    assert list(table["layer"]) == [0, 2]
    assert list(table["effect"]) == pytest.approx([2.0, 5.0])
    assert list(table["share"]) == [0.0, 1.0]
    assert list(table["edits"]) == [2, 1]


def test_too_few_groups_to_find_anything_are_named():
    frame = together(*(an_edit(f"L0H{i}", noise(5, i)) for i in range(4)))
    row = least_p(effects_table(MadeUp(frame))).iloc[0]
    assert (row["m"], row["n"], row["least"]) == (4, 5, 4 / 16)


def test_an_empty_study_has_an_empty_table():
    frame = an_edit("L0H0", [1.0, 2.0]).iloc[:0]
    results = MadeUp(frame)
    assert effects_table(results).empty
    assert list(effects_table(results).columns) == COLUMNS
    assert interactions_table(results).empty
    assert layers_table(results).empty
    assert coverage_notes(results, effects_table(results)) == []


def test_samples_hold_the_means_of_the_same_prompts():
    values = np.arange(6.0)
    values[2] = np.nan
    frame = an_edit("L0H0", values, baseline=np.arange(6) * 10.0, groups=list("aabbcc"))
    (sample,) = make_samples(frame, "all")
    assert sample.groups == ["a", "b", "c"]
    np.testing.assert_allclose(sample.effect, [[0.5, 3.0, 4.5]])
    np.testing.assert_allclose(sample.baseline, [[5.0, 30.0, 45.0]])
    assert list(sample.missing) == [1]
