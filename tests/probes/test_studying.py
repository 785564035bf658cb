"""Head finders as scores of studies, against the finders' own tables."""

import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.probes.heads import find_heads
from workbench.studies.edits.site import SITES
from workbench.studies.searches.search import SCORES, SEARCHES

QUICK = {"batch": 2, "block": 12}


@pytest.mark.parametrize(("name", "group"), [("attention", 1), ("attention", 2), ("mamba", 64)])
def test_every_target_has_the_finder_s_score(name, group):
    model = wb.load(f"zoo:{name}")
    targets = SITES.parse({"kind": "heads", "group": group}).targets(model)
    scores = SCORES.parse({"kind": "finder", "finds": "induction", "options": QUICK}).scores(model, targets, 5)
    table = find_heads(model, "induction", seeds=[5], group=group, **QUICK).set_index("site")["score"]
    assert len(scores) == len(table)
    assert scores == [table[target.label] for target in targets]
    assert len(set(scores)) > len(scores) / 2


def test_only_the_heads_that_are_asked_for_are_scored():
    model = wb.load("zoo:attention")
    targets = SITES.parse(["L3H1", "L1H2"]).targets(model)
    score = SCORES.parse({"kind": "finder", "finds": "previous_token", "options": QUICK})
    table = find_heads(model, "previous_token", seeds=[0], **QUICK).set_index("site")["score"]
    assert score.scores(model, targets, 0) == [table["L1H2"], table["L3H1"]]


def test_the_score_is_part_of_a_search():
    search = SEARCHES.parse({"kind": "top", "k": 2, "by": {"kind": "finder", "finds": "induction"}})
    assert search.score is not None
    assert search.canonical()["by"] == {"kind": "finder", "finds": "induction", "options": {}}
    assert SEARCHES.parse(search.canonical()) == search


def test_what_a_finder_cannot_score_is_refused():
    model = wb.load("zoo:attention")
    mlps = SITES.parse("mlps").targets(model)
    finder = SCORES.parse({"kind": "finder", "finds": "induction"})
    with pytest.raises(InputError, match=r"scores heads, and L0\.mlp is none"):
        finder.scores(model, mlps, 0)
    with pytest.raises(ValueError, match="No kind of head is called 'inducton'; nearest: induction"):
        SCORES.parse({"kind": "finder", "finds": "inducton"})
    heads = SITES.parse("heads").targets(model)
    for options, said in (({"blocks": 3}, "no option 'blocks'"), ({"group": 2}, "group of the finder is set")):
        with pytest.raises(InputError, match=said):
            SCORES.parse({"kind": "finder", "finds": "induction", "options": options}).scores(model, heads, 0)
