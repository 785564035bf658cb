"""The table for the terminal, and the page that compares two studies."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.workbench.studies.report.examples import everything, nothing
from tests.workbench.studies.statistics.made_up import MadeUp, a_study, an_edit, together
from tests.workbench.test_report import Dom
from workbench.studies.report import compare_studies, comparison_text, effects_text, write_comparison


def shown(renderable: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_terminal_shows_the_first_rows_of_each_entry():
    text = shown(effects_text(everything(), top=2))
    assert text.count("attention: heads, loss") == 1
    assert text.count("mamba: heads, loss") == 1
    lines = [line for line in text.splitlines() if line.startswith("│ L0H1 ")]
    assert "+2." in lines[0]
    assert "the first 2 shown" in text
    assert "kl" not in text


def test_a_study_without_results_is_one_sentence():
    assert shown(effects_text(nothing())).strip() == "Nothing has been measured yet."


def test_markup_in_names_is_text():
    results = MadeUp(an_edit("L0.[red]x[/red]", np.ones(5)))
    assert "L0.[red]x[/red]" in shown(effects_text(results))


@pytest.fixture(scope="module")
def two():
    a = everything()
    frame = a.frame.copy()
    frame.loc[(frame["label"] == "L0H1") & (frame["metric"] == "loss"), ["value", "effect"]] += 1.0
    frame = frame[frame["family"] != "doses"]
    study = a_study(**{**a.study.model_dump(mode="json"), "name": "second", "statistics": {"resamples": 600}})
    return a, replace(a, frame=frame, study=study)


def test_a_comparison_says_what_differs(two, tmp_path):
    a, b = two
    table = compare_studies(a, b)
    files = write_comparison(a, b, tmp_path / "page.html", facts={"Command": "compare"}, differences=table)
    assert [file.name for file in files] == ["page.html", "page.differences.csv", "page.differences.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(files[2]), table, check_dtype=False)
    dom = Dom(files[0].read_text("utf-8"))
    assert dom.text["h1"] == ["everything against second"]
    found = int((table["q"] <= 0.05).sum())
    assert f"On the same prompts, {found:,} of {len(table):,} differ" in dom.text["p"][0]
    cells = dom.text["td"]
    assert cells[cells.index("statistics.resamples") + 1 :][:2] == ["500", "600"]
    assert cells[cells.index("L0H1") + 3] == "+1.00"
    assert "Only in A, entries of edits: doses." in dom.text["p"]


def test_a_comparison_on_the_terminal_starts_with_the_largest(two):
    text = shown(comparison_text(compare_studies(*two), top=1))
    first = text.split("attention: heads, kl")[0]
    assert "L0H1" in first
    assert "+1.00" in first


def test_different_prompts_are_said_to_be_resampled_apart(tmp_path):
    a = MadeUp(together(an_edit("L0H0", np.arange(6.0))))
    other = an_edit("L0H0", np.arange(6.0) + 50)
    other["prompt_id"] = other["group"] = [f"other{i}" for i in range(6)]
    (page, *_) = write_comparison(a, MadeUp(other), tmp_path / "page.html")
    text = " ".join(Dom(page.read_text("utf-8")).text["p"])
    assert "On different prompts, the intervals of 1 of 1 differences leave out 0" in text
    assert "None that could change a result." in text
