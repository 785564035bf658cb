"""Searches against brute force, on effects that are known functions of sets."""

from itertools import combinations
from math import nan

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.workbench.studies.searches.made_targets import heads, labels, play
from workbench.errors import InputError
from workbench.studies.searches.asking import AskingSearch
from workbench.studies.searches.search import SEARCHES, ScoreKind

TARGETS = heads(3, 3)
NAMES = [target.label for target in TARGETS]
WEIGHTS = st.lists(st.integers(-9, 9), min_size=9, max_size=9, unique=True)
POSITIVE = st.lists(st.integers(0, 9), min_size=9, max_size=9)


def additive(weights):
    return lambda one: float(sum(weights[NAMES.index(label)] for label in one))


def test_each_asks_for_every_target_by_itself_once():
    rounds, found = play(SEARCHES.parse("each"), TARGETS, additive([1] * 9))
    assert rounds == [[frozenset([name]) for name in NAMES]]
    assert found == rounds[0]


@given(WEIGHTS)
@settings(deadline=None, max_examples=25)
def test_all_pairs_are_asked_for_in_one_round(weights):
    rounds, _ = play(SEARCHES.parse("pairs"), TARGETS, additive(weights))
    singles = [frozenset([name]) for name in NAMES]
    assert rounds == [[*singles, *(frozenset(pair) for pair in combinations(NAMES, 2))]]


@given(WEIGHTS, st.integers(2, 9), st.sampled_from(["move", "raise", "lower"]))
@settings(deadline=None, max_examples=25)
def test_pairs_among_the_best_are_those_of_the_largest_effects(weights, among, goal):
    rounds, _ = play(SEARCHES.parse({"kind": "pairs", "among": among, "goal": goal}), TARGETS, additive(weights))
    key = {"move": abs, "raise": float, "lower": lambda weight: -weight}[goal]
    ranked = sorted(NAMES, key=lambda name: -key(weights[NAMES.index(name)]))
    assert set(rounds[1]) == {frozenset(pair) for pair in combinations(ranked[:among], 2)}


def test_pairs_end_with_the_pair_that_does_most_beyond_what_its_two_do_alone():
    def effect(one):
        return len(one) * 5.0 - 4.0 * ({"L0H1", "L2H2"} <= one)

    assert play(SEARCHES.parse("pairs"), TARGETS, effect)[1] == [frozenset({"L0H1", "L2H2"})]


@given(WEIGHTS, st.integers(1, 9), st.booleans())
@settings(deadline=None, max_examples=25)
def test_top_takes_the_best_singles_and_then_all_of_them(weights, k, cumulative):
    search = SEARCHES.parse({"kind": "top", "k": k, "goal": "raise", "cumulative": cumulative})
    rounds, found = play(search, TARGETS, additive(weights))
    ranked = sorted(NAMES, key=lambda name: -weights[NAMES.index(name)])
    assert found == [frozenset(ranked[:k])]
    sizes = range(2, k + 1) if cumulative else [k] if k > 1 else []
    assert rounds[1:] == ([[frozenset(ranked[:size]) for size in sizes]] if sizes else [])


@given(WEIGHTS, st.integers(1, 9))
@settings(deadline=None, max_examples=25)
def test_top_by_a_score_asks_for_the_best_scored_alone(weights, k):
    search = SEARCHES.parse({"kind": "top", "k": k, "by": {"kind": "finder", "finds": "induction"}})
    assert isinstance(search.score, ScoreKind)
    scores = dict(zip(NAMES, map(float, weights), strict=True))
    rounds, found = play(search, TARGETS, additive([0] * 9), scores)
    ranked = sorted(NAMES, key=lambda name: -scores[name])[:k]
    assert found == [frozenset(ranked)]
    assert set(rounds[0]) == {frozenset([name]) for name in ranked} | {frozenset(ranked)}
    assert len(rounds) == 1


@given(st.lists(st.integers(0, 2**9 - 1), min_size=1, max_size=4), POSITIVE, st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_greedy_takes_what_adds_most_at_each_step(groups, weights, k):
    """A coverage function, whose forward selection is redone here with all sets at hand."""

    def effect(one):
        chosen = [NAMES.index(name) for name in one]
        shared = sum(10 for group in groups if any(group >> number & 1 for number in chosen))
        return float(sum(weights[number] for number in chosen) + shared)

    expected: list[str] = []
    while len(expected) < k:
        gains = {name: effect({*expected, name}) - effect(expected) for name in NAMES if name not in expected}
        best = max(gains, key=lambda name: (gains[name], -NAMES.index(name)))
        if gains[best] <= 0:
            break
        expected.append(best)
    rounds, found = play(SEARCHES.parse({"kind": "greedy", "k": k, "goal": "raise"}), TARGETS, effect)
    assert found == ([frozenset(expected)] if expected else [])
    assert len(rounds) == min(k, len(expected) + 1)


def test_greedy_stops_where_a_further_target_adds_too_little():
    search = SEARCHES.parse({"kind": "greedy", "k": 9, "gain": 3.0, "goal": "lower"})
    assert play(search, TARGETS, additive([0, -8, -2, -3, -4, 1, 9, 0, 0]))[1] == [frozenset({"L0H1", "L1H1"})]


@given(POSITIVE.filter(any), st.floats(0.05, 1.0), st.booleans())
@settings(deadline=None, max_examples=25)
def test_bisection_finds_the_shortest_prefix_with_the_share(weights, share, backward):
    order = NAMES[::-1] if backward else NAMES
    effect = additive(weights)
    whole = effect(order)
    shortest = next(n for n in range(1, 10) if effect(order[:n]) / whole >= share)
    rounds, found = play(SEARCHES.parse({"kind": "bisection", "share": share, "backward": backward}), TARGETS, effect)
    assert found == [frozenset(order[:shortest])]
    assert len(rounds) <= 5  # all of them, and four halvings of nine


@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=4), WEIGHTS)
@settings(deadline=None, max_examples=25)
def test_a_minimal_set_is_the_conjunction_that_the_effect_needs(needed, weights):
    effect = lambda one: -10.0 * (needed <= one) + 0.001 * len(one)  # noqa: E731
    _, found = play(SEARCHES.parse("minimal"), TARGETS, effect)
    assert found == [frozenset(needed)]


@given(POSITIVE.filter(any), st.floats(0.1, 1.0))
@settings(deadline=None, max_examples=25)
def test_no_member_of_a_minimal_set_can_be_left_out(weights, share):
    effect = additive(weights)
    (found,) = play(SEARCHES.parse({"kind": "minimal", "share": share}), TARGETS, effect)[1]
    whole = effect(NAMES)
    assert effect(found) / whole >= share
    assert all(effect(found - {name}) / whole < share for name in found if len(found) > 1)


@pytest.mark.parametrize("kind", ["bisection", "minimal"])
def test_without_an_effect_there_is_no_share_of_it(kind):
    assert play(SEARCHES.parse(kind), TARGETS, lambda one: 0.0) == ([[frozenset(NAMES)]], [])
    assert play(SEARCHES.parse(kind), TARGETS, lambda one: nan)[1] == []


def test_random_sets_are_of_the_size_all_different_and_drawn_by_the_seed():
    search = SEARCHES.parse({"kind": "random", "size": 3, "draws": 40})
    drawn = labels(search.propose(TARGETS, {}, {}, 0))
    assert len(set(drawn)) == 40
    assert all(len(one) == 3 for one in drawn)
    assert drawn == labels(search.propose(TARGETS, {}, {}, 0))
    assert drawn != labels(search.propose(TARGETS, {}, {}, 1))
    with pytest.raises(InputError, match="9 targets have 84"):
        SEARCHES.parse({"kind": "random", "size": 3, "draws": 85}).propose(TARGETS, {}, {}, 0)


@pytest.mark.parametrize("goal", ["move", "raise", "lower"])
def test_what_could_not_be_measured_is_never_the_best(goal):
    def effect(one):
        return nan if "L0H0" in one else 1.0 if goal != "lower" else -1.0

    for kind, size in (("greedy", 2), ("top", 8)):
        found = play(SEARCHES.parse({"kind": kind, "k": size, "goal": goal}), TARGETS, effect)[1]
        assert all("L0H0" not in one for one in found)


@given(WEIGHTS)
@settings(deadline=None, max_examples=25)
def test_rounds_in_one_go_are_those_asked_for_one_after_the_other(weights):
    for given_kind in ({"kind": "greedy", "k": 4}, "minimal", {"kind": "top", "k": 3, "cumulative": True}):
        search = SEARCHES.parse(given_kind)
        assert isinstance(search, AskingSearch)
        effect = additive(weights)
        rounds, _ = play(search, TARGETS, effect)
        known = {one: effect(one) for asked in rounds for one in asked}
        assert [labels(one) for one in search.rounds(TARGETS, known, {}, 0, 999)] == rounds


KINDS = [
    "each",
    {"kind": "random", "size": 2, "draws": 5},
    "pairs",
    {"kind": "pairs", "among": 4},
    {"kind": "top", "k": 1, "cumulative": True},
    {"kind": "top", "k": 4},
    {"kind": "top", "k": 4, "cumulative": True},
    {"kind": "top", "k": 4, "cumulative": True, "by": {"kind": "finder", "finds": "induction"}},
    {"kind": "greedy", "k": 4},
    {"kind": "greedy", "k": 20},
    "bisection",
    "minimal",
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(st.randoms(use_true_random=False), st.integers(2, 9))
@settings(deadline=None, max_examples=15)
def test_no_search_asks_for_more_than_its_bound_whatever_comes_back(kind, random, count):
    search = SEARCHES.parse(kind)
    scores = {name: random.random() for name in NAMES}
    try:
        rounds, found = play(search, TARGETS[:count], lambda one: random.choice([-1.0, 0.1, 1.0, 2.0]), scores)
    except InputError:
        assume(False)  # fewer targets than it needs
    bound = search.bound(count)
    assert sum(map(len, rounds)) <= bound.sets and len(found) <= bound.found


@pytest.mark.parametrize("kind", KINDS[:-1], ids=str)
def test_a_bound_is_reached_by_a_search_that_goes_on_to_its_end(kind):
    search = SEARCHES.parse(kind)
    growing = {name: 2.0**number for number, name in enumerate(NAMES)}
    rounds, found = play(search, TARGETS, lambda one: sum(growing[name] for name in one), growing)
    assert sum(map(len, rounds)) == search.bound(9).sets
    assert len(found) == search.bound(9).found


def test_more_than_there_are_is_refused():
    with pytest.raises(InputError, match="best 10 are asked for, and there are 9"):
        play(SEARCHES.parse({"kind": "top", "k": 10}), TARGETS, additive([1] * 9))
    with pytest.raises(InputError, match="at least two targets"):
        play(SEARCHES.parse("pairs"), TARGETS[:1], additive([1] * 9))
