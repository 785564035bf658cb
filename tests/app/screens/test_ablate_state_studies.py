"""The pages Ablate, State and Studies in a browser: used, compared with the Python API, restored by their links."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from benchmarks.browser import PATIENCE, Explorer, settled, visit, width_needed
from workbench.app.serving import Workspace
from workbench.app.serving.study_runs import RUNS, StudyRuns
from workbench.app.shell.prompts import PROMPT
from workbench.app.views.ablation_effects import in_words, shown_of
from workbench.app.views.ablation_study import OWN_TEXT, Asking, run_ablation
from workbench.app.views.state_edits import StateEdit, outcome
from workbench.app.views.studies import EXAMPLE
from workbench.studies import read_study, run_with_model


def test_ablate_shows_the_numbers_of_the_api_and_saves_a_study(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("ablate", sites="L1H2,L0.mlp", method="zero", inputs=OWN_TEXT))
    asking = Asking("zoo:attention", ("L1H2", "L0.mlp"), "zero", OWN_TEXT, PROMPT)
    workspace = Workspace(explorer.workspace)
    (beside,) = shown_of(run_ablation(wb.load("zoo:attention"), asking, workspace), "loss")
    assert in_words(beside, "loss", "zero") in page.locator('[data-testid="stMain"]').inner_text()
    page.get_by_role("button", name="Save as a study file").click()
    page.get_by_text(f"workbench study run {asking.file}", exact=True).wait_for()
    settled(page)
    file = workspace.inside(asking.file)
    assert read_study(file).metrics[0].name == "loss"
    shutil.rmtree(file.parent)


def test_ablate_says_what_cannot_be_ablated(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("ablate", sites="L1H9"))
    assert "L1H9 names head 9, and layer 1 has heads 0..3." in page.locator('[data-testid="stMain"]').inner_text()


def test_state_edits_are_queued_undone_and_restored_by_the_link(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("state", model="zoo:gated_delta", layer=3, edits="zero:L3@9", tokens=5))
    main = page.locator('[data-testid="stMain"]')
    model = wb.load("zoo:gated_delta")
    found = outcome(model, PROMPT, [StateEdit("zero", 3, None, 9)], {}, 5)
    assert f"moves by {found.divergence[-1]:.3g} nats" in main.inner_text()
    page.get_by_role("button", name="Add to the edits").click()
    page.get_by_text(re.compile("2. Zero the state of head")).wait_for()
    settled(page)
    assert page.url.count("zero%3AL3") + page.url.count("zero:L3") == 2
    page.get_by_role("button", name="Undo the last").click()
    page.get_by_text(re.compile("2. Zero the state of head")).wait_for(state="detached")
    settled(page)
    assert "1. Zero the state of layer 3 after token 9" in main.inner_text()
    assert f"moves by {found.divergence[-1]:.3g} nats" in main.inner_text()


def test_state_of_a_transformer_says_what_it_keeps(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("state", model="zoo:attention", other="zoo:mamba"))
    said = page.locator('[data-testid="stMain"]').inner_text()
    assert "No recurrent state" in said and "This page shows model A alone" in said


def test_studies_begin_with_an_example_and_show_a_run(explorer: Explorer, page: Any) -> None:
    main = page.locator('[data-testid="stMain"]')
    visit(page, explorer.address("studies"))
    assert "There is no run in the workspace yet" in main.inner_text()
    page.get_by_role("button", name="Put an example into studies/").click()
    page.get_by_role("button", name="Start", exact=True).wait_for()
    assert "studies/which-heads-copy.yaml is in the workspace now" in main.inner_text()
    file = explorer.workspace / "studies" / "which-heads-copy.yaml"
    assert file.read_text(encoding="utf-8") == EXAMPLE
    settled(page)
    assert "studies/which-heads-copy.yaml is in the workspace now" in main.inner_text()
    study = read_study(file, ["inputs.count=4", "edits.0.sites=[L1H0, L1H2]"])
    run_with_model(study, wb.load("zoo:attention"), explorer.workspace / RUNS / "copying")
    try:
        visit(page, explorer.address("studies", run="copying"))
        text = main.inner_text()
        assert "Done: 12 of 12 units." in text and "Edits: heads" in text
    finally:
        shutil.rmtree(explorer.workspace / RUNS)
        shutil.rmtree(file.parent)


MOST_BARS = """() => {
    window.__bars = 0;
    const look = () => {
        const bars = document.querySelectorAll('[data-testid="stProgress"]').length;
        window.__bars = Math.max(window.__bars, bars);
        requestAnimationFrame(look);
    };
    look();
}"""
"""Counts in the browser how many progress bars there ever are at once."""


def test_a_study_is_started_cancelled_and_resumed_under_one_bar(explorer: Explorer, page: Any) -> None:
    main = page.locator('[data-testid="stMain"]')
    (explorer.workspace / "mkdocs.yml").write_text("site_name: a site\n", encoding="utf-8")
    file = explorer.workspace / "copying.yaml"
    file.write_text(EXAMPLE.replace("which-heads-copy", "copying"), encoding="utf-8")
    try:
        visit(page, explorer.address("studies"))
        assert "workbench study run copying.yaml" in main.inner_text() and "mkdocs" not in main.inner_text()
        page.evaluate(MOST_BARS)
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_text("Starting copying").wait_for()
        page.get_by_text(re.compile("^running: .* time left not known yet")).wait_for(timeout=1000 * PATIENCE)
        page.get_by_role("button", name="Cancel").first.click()
        page.get_by_role("button", name="Resume").wait_for(timeout=1000 * PATIENCE)
        elsewhere = page.context.new_page()
        visit(elsewhere, explorer.address("studies", run="copying"))
        page.get_by_role("button", name="Resume").click()
        page.get_by_text(re.compile("^starting: ")).wait_for()
        elsewhere.get_by_role("button", name="Resume").click()
        elsewhere.get_by_text("The study in copying is running already; cancel it first.").wait_for()
        page.get_by_text("Done: 204 of 204 units.").wait_for(timeout=1000 * PATIENCE)
        settled(page)
        assert "Edits: heads" in main.inner_text() and page.evaluate("window.__bars") == 1
    finally:
        StudyRuns(Workspace(explorer.workspace)).stop(Path(RUNS) / "copying")
        shutil.rmtree(explorer.workspace / RUNS, ignore_errors=True)
        file.unlink()
        (explorer.workspace / "mkdocs.yml").unlink()


def test_what_is_chosen_is_there_again_after_another_page(explorer: Explorer, page: Any) -> None:
    main = page.locator('[data-testid="stMain"]')

    def away_and_back(title: str) -> str:
        for name in ("Lens", title):
            page.get_by_test_id("stSidebarNavLink").get_by_text(name, exact=True).click()
            page.get_by_role("heading", name=name, exact=True).wait_for()
            settled(page)
        return str(main.inner_text())

    visit(page, explorer.address("ablate", model="zoo:attention", sites="L0H1,L3H2", prompts=4))
    assert "Without L0H1 + L3H2" in main.inner_text()
    assert "Without L0H1 + L3H2" in away_and_back("Ablate") and "L0H1" in page.url
    visit(page, explorer.address("state", model="zoo:gated_delta", layer=3, edits="zero:L3@9", tokens=5))
    queue = page.get_by_role("button", name="Remove all")
    assert queue.count() == 1
    away_and_back("State")
    assert queue.count() == 1 and "edits=zero" in page.url
    queue.click()
    page.get_by_text("No edit is queued yet").wait_for()
    settled(page)
    assert queue.count() == 0
    away_and_back("State")
    assert queue.count() == 0


@pytest.mark.parametrize("name", ["ablate", "state", "studies"])
def test_on_a_phone_nothing_lies_beside_the_screen(explorer: Explorer, page: Any, name: str) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    visit(page, explorer.address(name, model="zoo:gated_delta"))
    assert width_needed(page) == 400
