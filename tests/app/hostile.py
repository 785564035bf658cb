"""A text in which tokens look like markup, and a store made of it."""

import pytest

import workbench as wb
from workbench.app.serving import Workspace
from workbench.app.views.features import building
from workbench.app.views.features.building import Plan

MARKUP = "<script>alert(\"x\")</script> 'quoted' $x^2$ **bold** :red[x] <b>it</b> &amp; \u202eabc\u200b "
TEXT = ("The state of the Union is strong. " + MARKUP + "My fellow citizens, the Congress met at noon.\n\n") * 12


def built(model, root, source="zoo:attention", tokens=100_000):
    """The store of a plan for that text, in a workspace at `root`."""
    workspace = Workspace(root)
    (root / "texts").mkdir(exist_ok=True)
    (root / "texts" / "hostile.txt").write_text(TEXT, encoding="utf-8")
    plan = Plan(source, f"{source}/resid_post", "workspace", "texts/hostile.txt", tokens)
    building.build(plan, model, building.texts_of(plan, workspace), workspace)
    return plan, workspace


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory):
    """The plan and the workspace of a store of zoo:attention's features on that text."""
    return built(wb.load("zoo:attention"), tmp_path_factory.mktemp("hostile"))
