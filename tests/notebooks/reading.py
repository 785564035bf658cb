"""The committed notebooks, read once."""

from __future__ import annotations

from functools import cache

import nbformat
from nbformat import NotebookNode

from notebooks.catalogue import Notebook, all_notebooks

NOTEBOOKS = all_notebooks()
NAMES = [notebook.name for notebook in NOTEBOOKS]


@cache
def committed(notebook: Notebook) -> NotebookNode:
    """A notebook as it lies in the repository."""
    return nbformat.read(notebook.file, as_version=4)
