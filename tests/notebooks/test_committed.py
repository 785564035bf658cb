"""What lies in the repository: outputs of today's sources, small, private to nobody, true to their own prose."""

from __future__ import annotations

import re

import pytest

from notebooks.catalogue import FOLDER, Notebook
from notebooks.claims import answer_of, claims_of, unborne
from notebooks.execution import MODEL_LINE, read_source
from notebooks.normal_form import LARGEST_NOTEBOOK, problems
from notebooks.pictures import PLOTLY, PNG

from .reading import NAMES, NOTEBOOKS, committed

each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=NAMES)


def test_notebooks_are_numbered_without_gaps_and_each_has_a_source() -> None:
    assert [name[:2] for name in NAMES] == [f"{number:02d}" for number in range(1, len(NAMES) + 1)]
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@each
def test_cells_are_those_of_the_source(notebook: Notebook) -> None:
    written = [(cell.cell_type, cell.source) for cell in read_source(notebook).cells]
    assert [(cell.cell_type, cell.source) for cell in committed(notebook).cells] == written, (
        f"Run: python -m notebooks {notebook.name[:2]}"
    )


@each
def test_outputs_are_small_and_say_nothing_about_this_machine(notebook: Notebook) -> None:
    assert problems(committed(notebook)) == []
    assert notebook.file.stat().st_size <= LARGEST_NOTEBOOK


@each
def test_every_cell_has_run_once_in_order(notebook: Notebook) -> None:
    counts = [cell.execution_count for cell in committed(notebook).cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@each
def test_every_figure_has_a_title_axes_and_a_picture(notebook: Notebook) -> None:
    figures = [
        output.data
        for cell in committed(notebook).cells
        for output in cell.get("outputs", ())
        if PLOTLY in output.get("data", {})
    ]
    assert figures, "A notebook shows at least one figure."
    for data in figures:
        layout = data[PLOTLY]["layout"]
        assert layout["title"]["text"]
        assert PNG in data, "Figures are committed with pictures: run python -m notebooks"
        for axis in ("xaxis", "yaxis"):
            assert layout[axis]["title"]["text"], f"{layout['title']['text']} has no title on its {axis}."


@each
def test_a_question_stands_at_the_beginning_an_answer_and_the_next_question_at_the_end(notebook: Notebook) -> None:
    cells = committed(notebook).cells
    number = int(notebook.name[:2])
    assert cells[0].source.startswith(f"# {number} · ")
    assert "**Question.**" in cells[0].source
    headings = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    assert "## Answer" in headings
    assert headings.index("## Answer") < headings.index("## Next question")


@each
def test_the_model_is_one_line_of_the_first_code_cell(notebook: Notebook) -> None:
    cells = [cell.source for cell in committed(notebook).cells if cell.cell_type == "code"]
    assert len(MODEL_LINE.findall(cells[0])) == 1
    assert not any(re.search(r"^\s*MODEL\s*=", cell, re.MULTILINE) for cell in cells[1:])


@each
def test_the_text_says_which_line_to_change_and_whose_the_answer_is(notebook: Notebook) -> None:
    content = committed(notebook)
    beginning = " ".join(content.cells[0].source.split())
    assert "Change the line `MODEL = ...`" in beginning
    # What is written of the model here need not hold for another: the claims below the answer are what is asked again.
    assert "The answer at the end is that of" in beginning or "that is all the line is for" in beginning
    code = "\n".join(cell.source for cell in content.cells if cell.cell_type == "code")
    model = MODEL_LINE.search(code)
    assert model is not None and code.count(f'"{model["model"]}"') == 1, "The model stands in more than its one line."


@each
def test_every_claim_holds(notebook: Notebook) -> None:
    claims = claims_of(committed(notebook))
    assert claims, "A notebook ends with its claims (workbench.report.Claims)."
    assert [claim.sentence for claim in claims if not claim.holds] == []


@each
def test_numbers_of_the_answer_are_numbers_of_the_run(notebook: Notebook) -> None:
    assert answer_of(committed(notebook))
    assert unborne(committed(notebook)) == [], "Each number in the answer is a number of a claim, rounded."


@each
def test_code_fits_into_a_cell(notebook: Notebook) -> None:
    lines = [line for cell in committed(notebook).cells if cell.cell_type == "code" for line in cell.source.split("\n")]
    assert [line for line in lines if len(line) > 110 and not re.search(r"https?://", line)] == []
