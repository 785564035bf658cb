"""Random controls against all sets there are."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workbench.studies.searches.made_targets import heads, labels
from workbench.studies.edits.site import Target
from workbench.studies.schema.study import Controls
from workbench.studies.searches.controls import controls_of, count_controls, shortages

POOL = heads(3, 4)
MLPS = [Target(f"L{layer}.mlp", f"L{layer}.mlp", layer) for layer in range(3)]
WIDE = [
    Target(f"L{layer}H{start}:{start + 2}", f"L{layer}H{start}:{start + 2}", layer, size=2)
    for layer in range(3)
    for start in (4, 6, 8)
]
EVERYTHING = [*POOL, *MLPS, *WIDE]

SETS = st.sets(st.sampled_from(range(len(POOL) + 3)), min_size=1, max_size=3).map(
    lambda numbers: tuple([*POOL, *WIDE[:3]][number] for number in sorted(numbers))
)


def every_control(one, match):
    """All sets of others with the same counts of sort, layer and size, found by trying all of them."""

    def key(target):
        sort = "mlp" if "mlp" in target.label else "head"
        return (sort, *(getattr(target, what) for what in match))

    others = [target for target in EVERYTHING if target not in one]
    wanted = Counter(map(key, one))
    return {
        frozenset(t.label for t in some) for some in combinations(others, len(one)) if Counter(map(key, some)) == wanted
    }


@given(SETS, st.integers(1, 30), st.sampled_from([["layer", "size"], ["layer"], ["size"]]), st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_controls_are_different_matched_sets_without_the_targets(one, draws, match, seed):
    controls = Controls(draws=draws, match=match)
    possible = every_control(one, match)
    drawn = controls_of([one], EVERYTHING, controls, seed)
    assert all(of == one for of, _ in drawn)
    found = labels([control for _, control in drawn])
    assert len(found) == len(set(found)) == min(draws, len(possible))
    assert set(found) <= possible
    assert count_controls(one, EVERYTHING, controls) == len(possible)


def test_controls_are_drawn_by_the_seed_and_each_as_likely_as_another():
    one, controls = (POOL[0], POOL[4]), Controls(draws=1)
    counts = Counter(labels([controls_of([one], POOL, controls, seed)[0][1]])[0] for seed in range(900))
    assert len(counts) == 9
    assert max(counts.values()) < 150  # 100 each, 9.4 standard deviation
    assert controls_of([one], POOL, controls, 3) == controls_of([one], POOL, controls, 3)


def test_the_places_of_a_named_set_are_each_replaced():
    named = Target("circuit", "L0H1 + L2.mlp", 0, size=2, more={"sites": ["L0H1", "L2.mlp"]})
    found = labels([control for _, control in controls_of([(named,)], EVERYTHING, Controls(match=["size"]), 0)])
    heads_, mlps = {t.label for t in POOL} - {"L0H1"}, {"L0.mlp", "L1.mlp"}
    assert set(found) == {frozenset({head, mlp}) for head in heads_ for mlp in mlps}
    # In layer 2 there is no other MLP.
    assert controls_of([(named,)], EVERYTHING, Controls(), 0) == []


def test_a_range_of_heads_is_replaced_head_by_head_where_the_pool_has_no_ranges():
    named = Target("L1H0:2", "L1H0:2", 1, size=2)
    assert labels([control for _, control in controls_of([(named,)], POOL, Controls(), 0)]) == [
        frozenset({"L1H2", "L1H3"})
    ]


def test_a_place_that_the_pool_lacks_has_no_controls():
    hook = Target("L0.resid_post", "blocks.0.hook_resid_post", 0)
    assert controls_of([(hook, POOL[0])], POOL, Controls(), 0) == []


@pytest.mark.parametrize(
    ("draws", "said"), [(3, []), (99, ["L0H0 has 3 matched controls, and 99 are asked for: so p cannot be below 1/4."])]
)
def test_too_few_controls_are_told_with_the_smallest_p(draws, said):
    assert shortages(POOL[:1], POOL, Controls(draws=draws)) == said


def test_many_shortages_are_counted():
    said = shortages(EVERYTHING, EVERYTHING, Controls())
    assert len(said) == 4
    assert said[-1] == f"{len(EVERYTHING) - 3} more sets have too few controls, too."
    assert shortages([], EVERYTHING, Controls(), [(MLPS[0],)]) == [
        "L0.mlp has no matched control, and 99 are asked for: so it gets no p."
    ]
