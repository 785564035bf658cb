"""What is kept of a run, what is refused, and how prose is held to its numbers."""

from __future__ import annotations

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from notebooks.catalogue import Notebook, all_notebooks, chosen_notebooks
from notebooks.claims import numbers_stated, unborne
from notebooks.execution import read_source, retold
from notebooks.normal_form import LARGEST_OUTPUT, normalise, problems, written
from workbench.notebook_bar import PROGRESS_MARK, NotebookBar, in_notebook
from workbench.report.claims import MIME, Claims


def ran(*outputs: NotebookNode) -> NotebookNode:
    return new_notebook(cells=[new_code_cell("1", outputs=list(outputs), execution_count=1)])


def shown(**data: object) -> NotebookNode:
    return new_output("display_data", {key.replace("_", "/"): value for key, value in data.items()})


def test_printed_pieces_are_joined_and_bars_and_times_taken_away() -> None:
    bar = shown(text_html="<progress></progress>")
    bar["metadata"] = {"text/html": {PROGRESS_MARK: True}}
    content = ran(
        new_output("stream", name="stdout", text="one "),
        new_output("stream", name="stdout", text="two"),
        bar,
        shown(text_plain="three"),
    )
    content.cells[0]["metadata"] = {"execution": {"iopub.execute_input": "2026-11-22T07:00:00Z"}}
    normalise(content)
    cell = content.cells[0]
    assert [output.get("text") or output.data["text/plain"] for output in cell.outputs] == ["one two", "three"]
    assert cell.metadata == {}
    once = written(content)
    normalise(content)
    assert written(content) == once


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (shown(text_plain="x" * (LARGEST_OUTPUT + 1)), "at most 200,000"),
        (new_output("stream", name="stderr", text="UserWarning: no"), "error stream: UserWarning: no"),
        (shown(text_plain="<object at 0x7f0011223344>"), "of this machine: at 0x7f0011223344"),
        (shown(text_html="<b>/home/me/model</b>"), "of this machine: /home/m"),
    ],
)
def test_outputs_not_fit_to_be_committed_are_named(output: NotebookNode, said: str) -> None:
    found = problems(ran(output))
    assert len(found) == 1 and found[0].startswith("Cell 1") and said in found[0]


def test_a_notebook_of_many_outputs_is_refused_as_a_whole() -> None:
    found = problems(ran(*(shown(text_plain="x" * 190_000) for _ in range(6))))
    assert len(found) == 1 and found[0].startswith("The notebook has 1,1")


def test_what_base64_spells_by_chance_is_no_path() -> None:
    assert problems(ran(shown(image_png="/home/abc"))) == []


def test_numbers_in_prose_are_read_with_their_rounding() -> None:
    text = "In `zoo:mamba2 0.5` L1H2 has 0.94, 3 heads of 1,024, 98 % and 12.5% (Elhage et al. 2021), [2022](http://x/9.9)."
    assert [(stated.text, stated.value) for stated in numbers_stated(text)] == [
        ("0.94", 0.94),
        ("1,024", 1024.0),
        ("98 %", 0.98),
        ("12.5%", 0.125),
    ]


def test_a_number_that_no_claim_rounds_to_is_found() -> None:
    claims = Claims()
    claims.add("so", True, score=0.944, left=-0.031)
    bundle = claims._repr_mimebundle_()
    content = ran(new_output("execute_result", {MIME: bundle[MIME]}, execution_count=1))
    content.cells.append(new_markdown_cell("## Answer\n\nIt is 0.94 or 94 %, and falls by 3 %; not 0.95 nor 17."))
    assert unborne(content) == ["0.95", "17"]


def test_notebooks_are_found_by_their_numbers_and_unknown_ones_named() -> None:
    first = all_notebooks()[0]
    assert chosen_notebooks(["1", "01"]) == [first]
    assert chosen_notebooks([]) == all_notebooks()
    with pytest.raises(LookupError, match=f"called 99.*{first.name}"):
        chosen_notebooks(["99"])


def test_another_model_is_one_other_line() -> None:
    notebook = all_notebooks()[0]
    here, there = (
        [line for cell in read_source(notebook, model).cells for line in cell.source.split("\n")]
        for model in (None, 'a/"b"\\1')
    )
    changed = [(old, new) for old, new in zip(here, there, strict=True) if old != new]
    assert len(changed) == 1
    scope: dict[str, str] = {}
    exec(changed[0][1], scope)
    assert scope["MODEL"] == 'a/"b"\\1'


def test_changed_text_is_taken_over_and_changed_code_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook("00-none")
    before = new_notebook(cells=[new_markdown_cell("old"), *ran(shown(text_plain="1")).cells])
    cells = [new_markdown_cell("new"), new_code_cell("1")]
    monkeypatch.setattr("notebooks.execution.read_source", lambda _: new_notebook(cells=cells))
    content = retold(notebook, nbformat.from_dict(before))
    assert content.cells[0].source == "new"
    assert content.cells[1].outputs == before.cells[1].outputs
    cells[1] = new_code_cell("2")
    with pytest.raises(LookupError, match="run it again"):
        retold(notebook, before)


def test_a_bar_in_a_notebook_waits_counts_escapes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    clock, drawn = [0.0], []
    monkeypatch.setattr("workbench.notebook_bar.time.monotonic", lambda: clock[0])

    def draw(bar: NotebookBar, content: str) -> None:
        bar._handle = bar._handle or object()
        drawn.append(content)

    monkeypatch.setattr(NotebookBar, "_draw", draw)
    with NotebookBar("a <b>", 10, patience=2.0) as bar:
        bar.show(1)
        assert drawn == []
        clock[0] = 2.0
        bar.advance(1)
        bar.advance(1)  # too soon after the last
        clock[0] = 3.0
        bar.advance(1, "c")
    assert drawn == [
        '<progress value="2" max="10"></progress> a &lt;b&gt;: 20%',
        '<progress value="4" max="10"></progress> c: 40%',
        "",
    ]
