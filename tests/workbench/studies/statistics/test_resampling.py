"""Intervals and tests against scipy, closed forms and simulations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workbench.studies.statistics.discoveries import benjamini_hochberg
from workbench.studies.statistics.ratios import ratios_of_means
from workbench.studies.statistics.resampling import draw_counts, intervals, resampled_means
from workbench.studies.statistics.sign_flips import sign_flip_p

HALF = 0.5


def skewed(edits: int, groups: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=(edits, groups)) - 1


def test_percentile_limits_are_those_of_scipy_up_to_the_draws():
    values = skewed(3, 40)
    ours = intervals(values, draw_counts(40, 20_000, 1), 0.9, "percentile")
    for row, sample in enumerate(values):
        theirs = stats.bootstrap(
            (sample,), np.mean, method="percentile", confidence_level=0.9, n_resamples=20_000, rng=2
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours.low[row] == pytest.approx(theirs.low, abs=0.03 * width)
        assert ours.high[row] == pytest.approx(theirs.high, abs=0.03 * width)
    assert ours.kinds == ["percentile"] * 3


def test_bootstrap_t_limits_are_those_of_a_loop_that_resamples_and_studentizes():
    sample = skewed(1, 12)[0]
    counts = draw_counts(12, 500, 3)
    t = []
    for row in counts.astype(int):
        drawn = np.repeat(sample, row)
        t.append((drawn.mean() - sample.mean()) / (drawn.std() / np.sqrt(len(drawn) - 1)))
    t = np.sort(t)
    error = sample.std() / np.sqrt(11)
    lower, upper = t[int(np.floor(0.05 * 500))], t[int(np.ceil(0.95 * 500)) - 1]
    ours = intervals(sample[None], counts, 0.9)
    assert ours.low[0] == pytest.approx(sample.mean() - upper * error)
    assert ours.high[0] == pytest.approx(sample.mean() - lower * error)
    assert ours.kinds == ["bootstrap-t"]


@pytest.mark.parametrize(("kind", "least"), [("bootstrap-t", 0.86), ("percentile", 0.78)])
def test_intervals_of_skewed_effects_cover_about_what_they_say(kind, least):
    # 400 samples of 20: binomial spread 1.5 %. In design 90 and 84 %.
    found = intervals(skewed(400, 20, seed=5), draw_counts(20, 2000, 0), 0.95, kind)
    covered = np.mean((found.low <= 0) & (found.high >= 0))
    assert least < covered < 0.97
    if kind == "bootstrap-t":
        plain = intervals(skewed(400, 20, seed=5), draw_counts(20, 2000, 0), 0.95, "percentile")
        assert covered > np.mean((plain.low <= 0) & (plain.high >= 0)) + 0.02


@settings(max_examples=30, deadline=None)
@given(
    st.integers(4, 12),
    st.integers(0, 2**32 - 1),
    st.floats(-5, 5),
    st.floats(0.01, 100),
    st.sampled_from(["bootstrap-t", "percentile"]),
)
def test_limits_move_and_stretch_with_the_effects(groups, seed, shift, scale, kind):
    values = np.random.default_rng(seed).normal(size=(2, groups))
    counts = draw_counts(groups, 200, 0)
    plain = intervals(values, counts, 0.9, kind)
    moved = intervals(scale * values + shift, counts, 0.9, kind)
    np.testing.assert_allclose(moved.low, scale * plain.low + shift, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved.high, scale * plain.high + shift, rtol=1e-6, atol=1e-6)
    assert (plain.low <= plain.high).all()


@pytest.mark.parametrize("kind", ["bootstrap-t", "percentile"])
def test_a_group_that_was_not_measured_counts_as_absent_in_every_resample(kind):
    values = skewed(2, 9)
    values[0, 4] = np.nan
    counts = draw_counts(9, 400, 0)
    found = intervals(values, counts, 0.9, kind)
    kept = np.delete(np.arange(9), 4)
    alone = intervals(values[:1, kept], counts[:, kept], 0.9, kind)
    if kind == "percentile":  # the resamples of the other groups, whose number now varies
        by_hand = np.sort([np.repeat(values[0, kept], row).mean() for row in counts[:, kept].astype(int) if row.sum()])
        assert found.low[0] == pytest.approx(by_hand[int(np.floor(0.05 * len(by_hand)))])
    assert (found.low[0], found.high[0]) == pytest.approx((alone.low[0], alone.high[0]))
    assert found.low[1] == pytest.approx(intervals(values[1:], counts, 0.9, kind).low[0])


def test_without_spread_between_groups_the_limits_are_the_mean():
    found = intervals(np.array([[0.1] * 6, [0.0] * 6]), draw_counts(6, 300, 0))
    assert found.low == pytest.approx([0.1, 0.0])
    assert found.high == pytest.approx([0.1, 0.0])


def test_effects_alike_in_nearly_every_group_get_percentile_limits_and_say_so():
    values = np.zeros((1, 40))
    values[0, 0] = -1.0  # an accuracy that changed in one group: a third of all resamples have no spread
    found = intervals(values, draw_counts(40, 2000, 0))
    assert found.kinds == ["percentile"]
    assert np.isfinite([found.low[0], found.high[0]]).all()
    assert found.low[0] < -1 / 40 <= found.high[0] <= 0


def test_three_groups_have_a_mean_and_no_interval():
    values = np.array([[1.0, 2.0, 4.0, np.nan], [1.0, 2.0, 4.0, 3.0]])
    found = intervals(values, draw_counts(4, 300, 0))
    assert np.isnan(found.low[0])
    assert found.kinds[0] == ""
    assert np.isfinite(found.low[1])


def test_all_edits_see_the_same_draws():
    values = skewed(1, 15)
    counts = draw_counts(15, 100, 0)
    twice = resampled_means(np.concatenate([values, values + 3]), counts)
    np.testing.assert_allclose(twice[:, 1] - twice[:, 0], 3)


def test_the_same_seed_draws_the_same_and_another_seed_others():
    again = np.random.default_rng(4).multinomial(10, [0.1] * 10, size=50)
    np.testing.assert_array_equal(draw_counts(10, 50, 4), again)
    assert (draw_counts(10, 50, 5) != again).any()
    assert (draw_counts(10, 50, 4).sum(1) == 10).all()


def test_few_groups_are_tested_by_every_pattern_of_signs():
    values = np.random.default_rng(1).normal(size=(4, 9)) + 0.3
    ours = sign_flip_p(values)
    for row, sample in enumerate(values):
        theirs = stats.permutation_test(
            (sample,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        # scipy doubles the smaller tail; of a symmetric distribution that is the same.
        assert ours[row] == pytest.approx(theirs.pvalue)


def test_many_groups_are_tested_by_random_signs():
    values = np.random.default_rng(2).normal(size=(5, 40)) + 0.25
    ours = sign_flip_p(values, resamples=20_000)
    for row, sample in enumerate(values):
        theirs = stats.permutation_test(
            (sample,), np.mean, permutation_type="samples", n_resamples=20_000, rng=3
        ).pvalue
        assert ours[row] == pytest.approx(theirs, abs=0.01)


def test_p_is_never_zero_and_small_enough_for_one_edit_among_many():
    values = np.random.default_rng(3).normal(size=(270, 60))
    values[0] += 10
    p = sign_flip_p(values, resamples=1000, q=0.05)
    assert p[0] == pytest.approx(1 / (4 * 270 / 0.05 + 1))
    assert benjamini_hochberg(p)[0] < 0.05
    assert p.min() > 0


def test_edits_that_stop_early_keep_a_valid_p():
    values = np.random.default_rng(4).normal(size=(2000, 30))
    p = sign_flip_p(values, resamples=1000, q=0.05)
    for level in (0.01, 0.05, 0.2, 0.5):
        spread = 3 * np.sqrt(level * (1 - level) / 2000)
        assert abs(np.mean(p <= level) - level) < spread


def test_a_missing_group_is_as_if_it_were_not_there():
    values = np.random.default_rng(5).normal(size=(1, 8)) + 0.4
    gap = np.insert(values, 3, np.nan, axis=1)
    assert sign_flip_p(gap) == pytest.approx(sign_flip_p(values))
    assert np.isnan(sign_flip_p(np.full((1, 8), np.nan))).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_are_those_of_scipy(p):
    np.testing.assert_allclose(benjamini_hochberg(np.array(p)), stats.false_discovery_control(p), atol=1e-12)


def test_what_was_not_tested_is_not_counted_among_the_tests():
    found = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx([0.02, 0.04])


def test_nothing_is_found_where_nothing_is_in_95_of_100_studies():
    # 200 studies of 20 edits without effect: at most 5 % report any, plus what a binomial allows.
    found = 0
    for seed in range(200):
        values = np.random.default_rng(seed).exponential(size=(20, 16))
        values *= np.random.default_rng(seed + 1000).choice([-1, 1], size=values.shape)
        found += bool((benjamini_hochberg(sign_flip_p(values, resamples=500, seed=seed)) <= 0.05).any())
    assert stats.binomtest(found, 200, 0.05, alternative="greater").pvalue > 0.01


def test_a_ratio_of_means_is_not_a_mean_of_ratios():
    clean = 4 + np.random.default_rng(0).normal(size=(1, 24), scale=0.1)
    corrupt, edited = np.zeros((1, 24)), np.full((1, 24), 2.0)
    clean[0, 0], edited[0, 0] = 0.02, 1.0
    counts = draw_counts(24, 4000, 0)
    found = ratios_of_means(edited, clean, corrupt, counts)
    assert found.ratio[0] == pytest.approx(47 / clean.sum())  # the mean of ratios would be above 2
    assert (edited / clean).mean() > 2
    by_hand = (counts @ edited[0]) / (counts @ clean[0])
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))


def test_a_ratio_over_nothing_is_undefined():
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(1, 20))
    found = ratios_of_means(noise + 1, noise, np.zeros((1, 20)), draw_counts(20, 1000, 0))
    assert np.isnan([found.ratio[0], found.low[0], found.high[0]]).all()


def test_ratios_leave_out_groups_that_lack_a_corrupt_prompt():
    clean, corrupt = np.full((1, 6), 2.0), np.zeros((1, 6))
    edited = np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 50.0]])
    corrupt[0, 5] = np.nan
    assert ratios_of_means(edited, clean, corrupt, draw_counts(6, 200, 0)).ratio[0] == pytest.approx(HALF)
