"""Building on the page Features, drawn in this process: what is said to be there already is what was asked for."""

from pathlib import Path

import pytest

import workbench as wb
from tests.app.hostile import built
from tests.app.screens.drawing import drawn
from tests.app.shell.conftest import server
from workbench.app.serving import Server

__all__ = ["server"]

OWN = {"model": "zoo:attention", "store": "build another", "text": "a text file or folder of the workspace"}


@pytest.fixture
def plan_name(server: Server) -> str:
    """Where the store of texts/hostile.txt lies, which is made."""
    plan, _ = built(wb.load("zoo:attention"), server.workspace.root)
    return str(plan.name)


def test_only_the_store_of_the_same_text_is_there_already(server: Server, plan_name: str) -> None:
    other = Path(server.workspace.root, "other")
    other.mkdir()
    (other / "hostile.txt").write_text("Another text of the same name. " * 30, encoding="utf-8")
    found = drawn(server, "features", **OWN, place="texts/hostile.txt")
    assert f"These features are in {plan_name} already." in [one.value for one in found.markdown]
    found = drawn(server, "features", **OWN, place="other/hostile.txt")
    assert not [one for one in found.markdown if "already" in one.value]
    assert [button for button in found.button if button.label.startswith("Build its features")]


@pytest.mark.parametrize(
    ("place", "says"), [("", "Name a text file"), ("gone/hostile.txt", "There is no gone/hostile.txt")]
)
def test_a_text_that_is_not_there_is_refused_before_anything_is_offered(
    server: Server, plan_name: str, place: str, says: str
) -> None:
    found = drawn(server, "features", **OWN, place=place)
    assert [one.value for one in (*found.info, *found.error) if says in one.value]
    assert not [one for one in found.markdown if "already" in one.value]
    assert not [button for button in found.button if button.label.startswith("Build its features")]
