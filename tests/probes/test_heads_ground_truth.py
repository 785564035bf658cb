"""The finders name exactly the heads that were built into a model by hand, and the causal check confirms them."""

import functools

import pytest

from tests.probes.hand_built import (
    TOKENS,
    induction_gpt2,
    induction_mamba,
    induction_mamba2,
    previous_token_mamba,
)
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads

COPYING_CHANNELS = {f"L0H{channel}" for channel in range(TOKENS)}
FIRST_FOUR = {f"L0H{channel}" for channel in range(4)}

BUILT = {
    "gpt2": induction_gpt2,
    "mamba": induction_mamba,
    "mamba, values one token late": functools.partial(induction_mamba, late=1),
    "mamba2": induction_mamba2,
    "mamba, previous by state": functools.partial(previous_token_mamba, "state"),
    "mamba, previous by convolution": functools.partial(previous_token_mamba, "convolution"),
    "mamba, counting": functools.partial(previous_token_mamba, "counting"),
}


@functools.cache
def built(name: str) -> HookedModel:
    return HookedModel(BUILT[name]())


def found(name: str, kind: str, **options: object) -> set[str]:
    table = find_heads(built(name), kind, block=12, bos=0, **options)
    return set(table[(table.score > 0.5) & (table.excess > 0.5)].site)


@pytest.mark.parametrize(
    ("name", "kind", "heads"),
    [
        ("gpt2", "first_token", {"L0H0"}),
        ("gpt2", "current_token", {"L0H3"}),
        ("gpt2", "previous_token", {"L0H1"}),
        ("gpt2", "duplicate_token", {"L0H2"}),
        ("gpt2", "induction", {"L1H2"}),
        ("mamba", "induction", COPYING_CHANNELS),
        ("mamba, values one token late", "induction", COPYING_CHANNELS),
        ("mamba2", "induction", {"L0H2"}),
        ("mamba", "previous_token", set()),
        ("mamba2", "duplicate_token", set()),
        ("mamba, previous by state", "previous_token", FIRST_FOUR),
        ("mamba, previous by convolution", "previous_token", FIRST_FOUR),
        ("mamba, counting", "previous_token", set()),
        ("mamba, counting", "first_token", set()),
    ],
)
def test_finders_name_exactly_the_heads_that_were_built(name: str, kind: str, heads: set[str]) -> None:
    assert found(name, kind) == heads


def test_a_counter_reads_all_tokens_alike_and_a_register_that_forgets_reads_the_current_one() -> None:
    table = find_heads(built("mamba, counting"), "current_token", block=12, bos=0).set_index("head")
    assert (table.score[:64].drop(range(8)) > 0.999).all()
    # A memory that halves at each step leaves 3/4 of its energy to the current token, were all inputs alike.
    assert table.score[range(4, 8)].between(0.65, 0.8).all()
    # The mean of 1 / (t + 1) over the places of the text.
    alike = sum(1 / (t + 1) for t in range(1, 25)) / 24
    assert (table.score[range(4)] - alike).abs().max() < 0.03
    assert table.excess[range(4)].max() < 0.02


@pytest.mark.parametrize("kind", ["copying", "copying_circuit"])
@pytest.mark.parametrize(
    ("name", "group", "heads"),
    [
        ("gpt2", 1, {"L1H2"}),
        ("mamba2", 1, {"L0H2"}),
        ("mamba", 4, {f"L0H{start}:{start + 4}" for start in range(0, TOKENS, 4)}),
    ],
)
def test_what_heads_write_names_exactly_those_that_copy(kind: str, name: str, group: int, heads: set[str]) -> None:
    options = {"block": 12, "bos": 0} if kind == "copying" else {"tokens": 19}
    table = find_heads(built(name), kind, group=group, seeds=(0, 1), **options)
    assert set(table[table.score > 0.5].site) == heads
    assert (table.excess[table.score > 0.5] > 0.1).all()
    assert (table.score[~table.site.isin(heads)].abs() < 1e-6).all()


@pytest.mark.parametrize(("name", "group"), [("gpt2", 1), ("mamba2", 1), ("mamba", 4)])
def test_the_heads_that_copy_are_those_that_look_at_the_token_being_written(name: str, group: int) -> None:
    options = {"bos": 0, "group": group, "lengths": 28, "depths": (0.2, 0.8), "seeds": (0, 1)}
    table = find_heads(built(name), "retrieval", **options)
    induction = find_heads(built(name), "induction", block=12, bos=0, group=group, seeds=0)
    assert set(table[table.score > 0.5].site) == set(induction[induction.score > 0.5].site)
    assert table.score[0] == 1 and table.null[0] == 0
    assert table.attrs["recall"] == 1


def test_a_perfect_head_scores_one_with_an_interval_around_it_and_the_smallest_possible_p() -> None:
    best = find_heads(built("gpt2"), "induction", block=12, bos=0, null_draws=19).iloc[0]
    assert best.score == pytest.approx(1, abs=1e-4)
    assert best.low <= best.score <= best.high
    assert best.null < 1e-6
    assert best.p == pytest.approx(1 / 20)
    assert (best.kind, best.normalise, best["scope"], best.family) == ("induction", "mass", "mixer", "softmax")


def test_core_scope_misses_what_the_convolution_moves_and_mixer_scope_does_not() -> None:
    # The reason for the default scope: the recurrence reads a later position, which holds the right token.
    assert found("mamba, values one token late", "induction", scope="core") == set()
    assert found("mamba, previous by convolution", "previous_token", scope="core") == set()
    assert found("mamba, previous by state", "previous_token", scope="core") == FIRST_FOUR


def test_channels_whose_matrix_is_zero_score_zero() -> None:
    table = find_heads(built("mamba, previous by state"), "previous_token", block=12, bos=0)
    silent = table[table["head"].between(4, 7)]
    assert len(silent) == 4
    assert (silent.score == 0).all()


@pytest.mark.parametrize("normalise", ["mass", "energy"])
@pytest.mark.parametrize(("name", "heads"), [("gpt2", {"L1H2"}), ("mamba2", {"L0H2"})])
def test_both_shares_find_the_same_heads(name: str, heads: set[str], normalise: str) -> None:
    assert found(name, "induction", normalise=normalise) == heads


def test_channels_can_be_pooled_into_groups() -> None:
    table = find_heads(built("mamba"), "induction", block=12, bos=0, group=4)
    assert len(table) == 24
    groups = {f"L0H{start}:{start + 4}" for start in range(0, TOKENS, 4)}
    assert set(table[table.score > 0.5].site) == groups
    assert set(table[table.score > 0.5]["head"]) == set(range(0, TOKENS, 4))


CIRCUITS: list[tuple[str, int, int]] = [("gpt2", 1, 1), ("mamba", TOKENS // 4, 4), ("mamba2", 1, 1)]


@pytest.mark.parametrize(("name", "k", "group"), CIRCUITS)
def test_without_its_induction_heads_a_model_no_longer_copies_and_loses_nothing_else(
    name: str, k: int, group: int
) -> None:
    model = built(name)
    table = find_heads(model, "induction", block=12, bos=0, group=group)
    result = ablate_top_k(model, table, k, method="zero", block=12, bos=0, draws=3).set_index("condition")
    assert result.loc["baseline", "accuracy_second"] == 1
    assert result.loc["top", "accuracy_second"] < 0.25
    assert result.loc["top", "loss_second"] > 2
    assert result.loc["random", "accuracy_second_low"] == 1
    assert result.loc["random", "loss_second_high"] < 0.01
    assert result.loc["top", "p_loss_second"] == result.loc["top", "p_least"] == pytest.approx(1 / 4)
    for condition in ("top", "random"):
        assert result.loc[condition, "loss_first"] == pytest.approx(result.loc["baseline", "loss_first"], abs=1e-3)


@pytest.mark.parametrize("method", ["mean", "resample"])
def test_every_method_of_ablation_destroys_copying(method: str) -> None:
    table = find_heads(built("gpt2"), "induction", block=12, bos=0)
    result = ablate_top_k(built("gpt2"), table, 1, method=method, block=12, bos=0, draws=3).set_index("condition")
    assert result.loc["top", "accuracy_second"] < 0.25
    assert result.loc["random", "accuracy_second"] == 1
