import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workbench.studies.searches.made_targets import heads
from workbench.studies.schema.study import Study
from workbench.studies.searches.rounds import next_edits

TARGETS = heads(3, 4)


def study_of(seed=0, **entry):
    return Study.model_validate(
        {
            "name": "made-up",
            "seed": seed,
            "models": ["zoo:attention"],
            "inputs": {"task": "repeated_random_tokens"},
            "edits": [{"name": "heads", "sites": "heads", "method": "zero", **entry}],
            "metrics": ["loss"],
        }
    )


def edits_of(study, effects, round, pool=None):
    return next_edits(study, "attention", study.edits[0], TARGETS, effects, {}, round, pool)


def run(study, effect, pool=None):
    """All rounds, one after the other, as a coordinator asks for them."""
    effects, rounds = {}, []
    while edits := edits_of(study, effects, len(rounds), pool):
        rounds.append(edits)
        assert len(rounds) < 50
        named = {frozenset(target.label for target in edit.targets) for edit in edits if edit.control_of is None}
        effects |= {one: effect(one) for one in named}
    return effects, rounds


def weighted(one):
    return float(sum(int(label[1]) * 10 + int(label[3]) ** 2 for label in one))


def test_an_edit_says_everything_that_it_is_made_of():
    study = study_of(seed=9, method={"kind": "resample"}, positions=[-1, 3])
    edit = edits_of(study, {}, 0)[5]
    assert (edit.model, edit.family, edit.label, edit.round, edit.seed) == ("attention", "heads", "L1H1", 0, 9)
    assert edit.positions == (-1, 3)
    assert edit.method == {"kind": "resample", "source": "discover", "draw": 0}
    assert edit.control_of is None


def test_the_seed_is_part_of_random_methods_only():
    assert {edit.seed for edit in edits_of(study_of(seed=9), {}, 0)} == {0}
    assert {edit.seed for edit in edits_of(study_of(seed=9, method="noise"), {}, 0)} == {9}


def test_doses_are_edits_each():
    edits = edits_of(study_of(method={"kind": "scale", "factor": [0.0, 2.0, -1]}), {}, 0)
    assert len(edits) == 3 * len(TARGETS)
    assert [edit.dose for edit in edits[:3]] == [0.0, 2.0, -1.0]
    assert [edit.method["factor"] for edit in edits[:3]] == [0.0, 2.0, -1.0]
    assert len({edit.edit_id for edit in edits}) == len(edits)


@given(
    st.sampled_from([{"kind": "greedy", "k": 3}, {"kind": "top", "k": 4}, "minimal", "bisection"]), st.integers(0, 99)
)
@settings(deadline=None, max_examples=25)
def test_a_resumed_study_gets_the_same_edits(search, shuffle):
    study = study_of(search=search, controls={"draws": 5, "match": ["size"]})
    effects, rounds = run(study, weighted)
    items = list(effects.items())
    random.Random(shuffle).shuffle(items)
    for number, edits in enumerate(rounds):
        assert edits_of(study, dict(items), number) == edits
    assert edits_of(study, dict(items), len(rounds)) == []
    assert edits_of(study, dict(items), len(rounds) + 1) == []


def test_controls_come_after_the_search_for_what_it_ended_with():
    _, rounds = run(study_of(search={"kind": "top", "k": 2}, controls={"draws": 4, "match": ["size"]}), weighted)
    assert [{edit.control_of for edit in edits} for edits in rounds] == [{None}, {None}, {"L2H2 + L2H3"}]
    assert len(rounds[2]) == 4
    assert all(not {"L2H2", "L2H3"} & {target.label for target in edit.targets} for edit in rounds[2])
    assert {edit.round for edit in rounds[2]} == {2}


def test_controls_of_single_heads_come_although_they_were_tried_themselves():
    _, rounds = run(study_of(controls={"draws": 99}), weighted)
    assert len(rounds) == 2
    assert len(rounds[1]) == 12 * 3
    assert {edit.edit_id for edit in rounds[1]} == {edit.edit_id for edit in rounds[0]}


def test_controls_are_drawn_from_the_pool():
    pool = [*TARGETS, *heads(3, 9)[-5:]]
    _, rounds = run(study_of(search={"kind": "top", "k": 1}, controls={"draws": 99}), weighted, pool)
    assert {edit.label for edit in rounds[1]} == {"L2H0", "L2H1", "L2H2", *(f"L2H{n}" for n in range(4, 9))}


def test_a_set_that_could_not_be_measured_does_not_hold_up_the_search():
    study = study_of(search={"kind": "greedy", "k": 2, "goal": "raise"})
    effects = {frozenset([target.label]): weighted([target.label]) for target in TARGETS if target.label != "L2H3"}
    assert all("L2H2" in edit.label for edit in edits_of(study, effects, 1))
