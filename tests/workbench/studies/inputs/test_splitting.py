import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.inputs.splitting import divided
from workbench.studies.schema.study import Split

GROUPS = st.lists(st.integers(0, 12), min_size=2, max_size=30).filter(lambda numbers: len(set(numbers)) > 1)


def prompts_of(groups):
    return [Prompt((number,), (0,), (1,), group=str(group)) for number, group in enumerate(groups)]


@given(GROUPS, st.floats(0.05, 0.95), st.integers(0, 20))
@settings(deadline=None)
def test_whole_groups_go_to_one_side_in_the_shares_that_are_asked_for(groups, share, seed):
    found = divided(prompts_of(groups), Split(discover=share, confirm=1 - share), seed)
    assert [prompt.tokens for prompt in found] == [(number,) for number in range(len(groups))]
    sides = {side: {one.group for one in found if one.split == side} for side in ("discover", "confirm")}
    assert not sides["discover"] & sides["confirm"]
    count = len(set(groups))
    assert all(sides.values())
    assert len(sides["discover"]) == min(max(round(share * count), 1), count - 1)


@given(GROUPS, st.integers(0, 20))
@settings(deadline=None)
def test_the_side_of_a_group_does_not_depend_on_the_order_of_prompts(groups, seed):
    shuffled = groups[:]
    random.Random(seed).shuffle(shuffled)
    first, second = (
        {one.group: one.split for one in divided(prompts_of(order), Split(), seed)} for order in (groups, shuffled)
    )
    assert first == second


def test_the_seed_decides_who_goes_where():
    prompts = prompts_of(range(20))
    drawn = {tuple(one.split for one in divided(prompts, Split(), seed)) for seed in range(10)}
    assert len(drawn) == 10


def test_without_a_split_prompts_serve_for_both_and_one_group_cannot_be_divided():
    assert {one.split for one in divided(prompts_of([1, 2]), None, 0)} == {"all"}
    with pytest.raises(InputError, match="at least two groups of prompts, and there is 1"):
        divided(prompts_of([3, 3]), Split(), 0)
