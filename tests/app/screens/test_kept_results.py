"""What was computed for one view is shown in no other: a key of a result says all that the result depends on."""

from __future__ import annotations

import pytest

from tests.app.screens.drawing import drawn
from tests.app.shell.conftest import server
from workbench.app.serving import Server
from workbench.app.serving.jobs import Jobs
from workbench.app.serving.results import Results
from workbench.app.views.ablation_study import OWN_TEXT

__all__ = ["server"]

MADE = ("text", "caption", "code", "dataframe", "plotly_chart", "bidi_component")
"""Elements that say or draw what was computed."""

OTHER = "Our enemies have never been weaker. Peace is a law of the land, and history is the history of children."

# What is looked at lies at the same place in both texts, so that only the text tells the views apart.
AT = {"token": "4", "cell": "4.2", "whole": "true"}
STATE = {"model": "zoo:gated_delta", "layer": "3", "tokens": "5"}
EDITED = {**STATE, "cell": "1.4", "edits": "zero:L3@4"}


def shown(server: Server, name: str, asked: dict[str, str]) -> list[bytes]:
    """What a page shows once everything is computed, element by element."""
    linked = {key: server.workspace.keep_prompt(value) if key == "prompt" else value for key, value in asked.items()}
    found = drawn(server, name, **linked)
    assert not found.error
    assert not [text.value for text in found.text if text.value.startswith("The link asked for")]
    return [node.proto.SerializeToString(deterministic=True) for node in found.main if node.type in MADE]


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("attention", AT, {**AT, "prompt": OTHER}),
        ("lens", {"cell": "2.3"}, {"cell": "2.3", "prompt": OTHER}),
        ("state", EDITED, {**EDITED, "prompt": OTHER}),
        ("ablate", {"inputs": OWN_TEXT}, {"inputs": OWN_TEXT, "prompt": OTHER}),
        ("lens", {"cell": "1.3"}, {"cell": "2.3"}),
        ("lens", {"from": "2", "count": "5", "cell": "1.3"}, {"from": "3", "count": "5", "cell": "1.2"}),
        ("lens", {"count": "5", "cell": "1.1"}, {"count": "6", "cell": "1.2"}),
        ("heads", {}, {"layers": "0-1"}),
        ("heads", {}, {"kind": "previous token"}),
        ("heads", {"check": "true", "k": "1"}, {"check": "true", "k": "2"}),
        ("heads", {"check": "true", "k": "1"}, {"check": "true", "k": "1", "method": "zero"}),
        ("heads", {"check": "true", "k": "1"}, {"check": "true", "k": "1", "kind": "previous token"}),
        ("state", {**STATE, "edits": "scale=0.5:L3@9"}, {**STATE, "edits": "scale=-4:L3@9"}),
        ("state", {**STATE, "edits": "zero:L3@9"}, {**STATE, "edits": "zero:L3@9", "tokens": "6"}),
        ("state", {**STATE, "cell": "0.4"}, {**STATE, "cell": "1.4"}),
        ("state", {**STATE, "cell": "0.4"}, {**STATE, "cell": "0.5"}),
        ("ablate", {"method": "zero", "prompts": "4"}, {"method": "mean", "prompts": "4"}),
        ("ablate", {"sites": "L1H0", "prompts": "4"}, {"sites": "L1H1", "prompts": "4"}),
    ],
)
def test_a_view_is_the_same_after_another_as_where_nothing_is_kept(
    server: Server, name: str, first: dict[str, str], second: dict[str, str]
) -> None:
    before, after = shown(server, name, first), shown(server, name, second)
    server.results, server.jobs = Results(), Jobs()
    alone = shown(server, name, second)
    assert len(after) == len(alone) > 0 and after != before
    assert [at for at, (one, other) in enumerate(zip(after, alone, strict=True)) if one != other] == []
