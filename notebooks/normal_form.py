"""What of a run is kept: two runs of the same code on the same machine give the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from workbench.notebook_bar import PROGRESS_MARK

ROOT = Path(__file__).resolve().parents[1]
LARGEST_OUTPUT = 200_000
LARGEST_NOTEBOOK = 1_000_000
# A path of this machine, or an object's address: neither means anything to a reader, and both change.
PRIVATE = re.compile(rf"{re.escape(str(ROOT))}|/home/\w|/Users/\w|/root/|/tmp/\w|\bat 0x[0-9a-f]{{6,}}")


class Unfit(Exception):
    """A notebook that must not be committed as it ran; the message has a line for each reason."""


def normalise(content: NotebookNode) -> None:
    """Take away what a run says about itself: times, progress, and pieces in which text was printed."""
    for cell in content.cells:
        cell["metadata"] = NotebookNode()
        if cell.cell_type == "code":
            cell["outputs"] = [_plain(output) for output in _joined(cell.outputs) if not _is_progress(output)]


def problems(content: NotebookNode) -> list[str]:
    """Why these outputs are not fit to be committed, a sentence each."""
    found: list[str] = []
    for number, cell in enumerate(content.cells, start=1):
        for output in cell.get("outputs", ()):
            text = json.dumps(output, ensure_ascii=False)
            if (size := len(text.encode())) > LARGEST_OUTPUT:
                found.append(f"Cell {number} has an output of {size:,} bytes; at most {LARGEST_OUTPUT:,} are kept.")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"Cell {number} writes to the error stream: {output.text.strip()[:300]}")
            if private := PRIVATE.search(_without_pictures(output)):
                found.append(f"Cell {number} shows a path or an address of this machine: {private.group()}")
    if (size := len(written(content).encode())) > LARGEST_NOTEBOOK:
        found.append(f"The notebook has {size:,} bytes; at most {LARGEST_NOTEBOOK:,} are kept.")
    return found


def written(content: NotebookNode) -> str:
    """The text of an ``.ipynb`` file.

    Raises:
        nbformat.ValidationError: it is no valid notebook.
    """
    nbformat.validate(content)
    text: str = nbformat.writes(content)
    return text.rstrip("\n") + "\n"


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with neighbouring pieces of the same stream put together: where they are cut is up to the clock."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def _is_progress(output: NotebookNode) -> bool:
    metadata = output.get("metadata", {})
    return any(isinstance(kind, dict) and kind.get(PROGRESS_MARK) for kind in metadata.values())


def _plain(output: NotebookNode) -> NotebookNode:
    if "metadata" in output:
        output["metadata"] = NotebookNode()
    return output


def _without_pictures(output: dict[str, Any]) -> str:
    """The text of an output: what base64 spells by chance is no path."""
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return json.dumps({**output, "data": data}, ensure_ascii=False)
