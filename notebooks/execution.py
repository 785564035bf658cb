"""From a script to a notebook whose cells have run."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets.config import Config

from notebooks.catalogue import FOLDER, Notebook

MODEL_LINE = re.compile(r'^MODEL = "(?P<model>[^"]*)"', re.MULTILINE)
"""The one line that is changed to run a notebook on another model."""

SECONDS_A_CELL = 600
"""What a cell may take on the notebook's own model; another model may be as large as it likes."""


class CellFailed(Exception):
    """A cell raised; the message names the notebook and ends with the error."""


def read_source(notebook: Notebook, model: str | None = None) -> NotebookNode:
    """The cells of a script, without outputs.

    Args:
        notebook: which one.
        model: stands in the place of the model that the notebook was written for.

    Raises:
        LookupError: `model` is given and no line ``MODEL = "..."`` is there to be changed.
    """
    text = notebook.source.read_text("utf-8")
    if model is not None:
        if not MODEL_LINE.search(text):
            raise LookupError(f'{notebook.name} has no line MODEL = "..." to change.')
        text = MODEL_LINE.sub(lambda _: f"MODEL = {model!r}", text, count=1)
    cells = jupytext.reads(text, fmt="py:percent").cells
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = NotebookNode()
    return NotebookNode(
        cells=cells,
        metadata=NotebookNode(
            kernelspec=NotebookNode(display_name="Python 3", language="python", name="python3"),
            language_info=NotebookNode(name="python", file_extension=".py", mimetype="text/x-python"),
        ),
        nbformat=4,
        nbformat_minor=5,
    )


def retold(notebook: Notebook, ran: NotebookNode) -> NotebookNode:
    """The notebook as it ran, with the text of today's script around the same code.

    Raises:
        LookupError: the code of the script is not what ran.
    """
    content = read_source(notebook)
    outputs = [cell for cell in ran.cells if cell.cell_type == "code"]
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    if [cell.source for cell in code] != [cell.source for cell in outputs]:
        raise LookupError(f"The code of {notebook.name} has changed since it ran: run it again.")
    for cell, before in zip(code, outputs, strict=True):
        cell["outputs"], cell["execution_count"] = before.outputs, before.execution_count
    return content


def execute(
    notebook: Notebook, model: str | None = None, on_cell: Callable[[int, int], None] | None = None
) -> NotebookNode:
    """Run every cell of a notebook in a kernel of its own, which begins in the folder of the notebooks.

    Plotly figures come as data alone: `pictures.add_pictures` puts a picture beside each.

    Args:
        notebook: which one.
        model: stands in the place of the model that the notebook was written for.
        on_cell: told, before each cell and at the end, how many are done and how many there are.

    Raises:
        CellFailed: a cell raised.
        LookupError: as `read_source`.
    """
    content = read_source(notebook, model)
    total = len(content.cells)

    def started(cell: NotebookNode, cell_index: int) -> None:
        if on_cell is not None:
            on_cell(cell_index, total)

    with tempfile.TemporaryDirectory() as profile:
        client = NotebookClient(
            content,
            timeout=SECONDS_A_CELL if model is None else None,
            startup_timeout=300,  # importing IPython alone takes a minute on a machine that is busy enough
            kernel_name="python3",
            resources={"metadata": {"path": str(FOLDER)}},
            on_cell_start=started,
            record_timing=False,
            # Through files of this user's own: nobody else on this machine can connect.
            config=Config(KernelManager={"transport": "ipc", "ip": str(Path(profile) / "kernel")}),
        )
        try:
            client.execute(env=_environment(Path(profile)))
        except CellExecutionError as error:
            raise CellFailed(f"{notebook.name}: {error}") from error
    if on_cell is not None:
        on_cell(total, total)
    return content


def _environment(profile: Path) -> dict[str, str]:
    """What kernels see: nothing of this user's own set-up, and the same order of sets in every run."""
    return {
        **os.environ,
        "IPYTHONDIR": str(profile),
        "PLOTLY_RENDERER": "plotly_mimetype",
        "PYTHONHASHSEED": "0",
        # What tqdm says to everybody who has no package of widgets.
        "PYTHONWARNINGS": "ignore:IProgress not found",
        # The debugger's notice about frozen modules would be the only thing on the error stream.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
