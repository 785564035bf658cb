"""Labels that the program proposes: what they say, that they are marked, and that a person's label stands."""

import json
import re

import numpy as np
import pytest

from workbench.app.views.features import scripts
from workbench.app.views.features.proposing import AUTHOR, LONGEST_LABEL, RAISED, proposal, save_proposal
from workbench.app.views.features.stores import open_store
from workbench.errors import InputError
from workbench.figures.tokens import visible_token


@pytest.fixture
def opened(hostile_store):
    plan, workspace = hostile_store
    found = open_store(workspace.root / plan.name)
    yield found
    for feature in found.store.labels.table()["feature"].tolist():
        found.store.labels.remove(feature)


@pytest.fixture
def one_token(opened):
    """A feature that fires at a single token of the vocabulary, and which."""
    found = opened.store.query(
        "select feature, any_value(token) as token from top_tokens group by feature having count(*) = 1 order by 1"
    )
    return int(found["feature"][0]), str(found["token"][0])


def test_a_proposal_names_the_token_it_fires_at_and_the_tokens_it_raises_most(opened, one_token):
    feature, token = one_token
    made = proposal(opened, feature)
    pattern, raised = made.label.split("; raises ")
    assert json.dumps(token.strip(" "), ensure_ascii=False) in pattern
    assert not re.match("the token", pattern)
    highest = opened.store.logits(feature).sort_values("effect", ascending=False)["token"].head(RAISED)
    assert raised.split(" ") == [visible_token(one) for one in highest]
    assert opened.store.labels.get(feature) is None


def test_proposals_are_kept_as_automatic_and_never_instead_of_a_persons_label(opened, one_token):
    feature, _ = one_token
    made = save_proposal(opened, feature)
    kept = opened.store.labels.get(feature)
    assert (kept.label, kept.source, kept.author) == (made.label, "auto", AUTHOR)
    assert kept.detection == made.detection and len(kept.label) <= LONGEST_LABEL
    opened.store.labels.set(feature, "mine")
    with pytest.raises(InputError, match=f"A person has labelled feature {feature}; that label stands"):
        save_proposal(opened, feature)
    assert opened.store.labels.get(feature).label == "mine"
    dead = int(opened.store.features().query("dead")["feature"].iloc[0])
    with pytest.raises(InputError, match="dead"):
        save_proposal(opened, dead)


def test_the_code_of_a_proposal_makes_its_parts(opened, one_token):
    feature, _ = one_token
    made = proposal(opened, feature)
    scope = {}
    exec(scripts.proposing_code(opened.folder, feature), scope)
    assert scope["proposed"]["label"][0].endswith(made.label.split(";")[0])
    assert np.array_equal(scope["proposed"]["detection"][0], np.nan if made.detection is None else made.detection, True)
    assert made.label.endswith(" ".join(map(visible_token, scope["raised"])))
