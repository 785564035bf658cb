"""The Python blocks of the pages run as they stand, in the order of the page."""

import ast
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from .tree import ROOT

PAGES = (
    "README.md",
    "docs/questions.md",
    "docs/autoencoders.md",
    "docs/tutorial.md",
    "docs/guides/models.md",
    "docs/guides/attention.md",
    "docs/guides/kernels.md",
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[int, str]]:
    """Each block with the number of the line before it."""
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


def run(page: Path) -> int:
    """Run a page's blocks in one namespace, and return how many there are. A traceback names the page's own lines."""
    names: dict[str, Any] = {"__name__": page.stem}
    found = blocks(page.read_text("utf-8"))
    for line, source in found:
        tree = ast.increment_lineno(ast.parse(source), line)
        exec(compile(tree, str(page), "exec"), names)
    return len(found)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        # Four heads a layer leave few random sets beside the best heads, which `ablate_top_k` says.
        warnings.filterwarnings("ignore", message="Only .* random sets? of|Too few other heads", category=UserWarning)
        assert run(ROOT / page)


def test_an_error_in_a_block_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A page.\n\n```python\nx = 1\n```\n\nthen\n\n```python\ny = x\ny.nothing\n```\n", "utf-8")
    with pytest.raises(AttributeError) as caught:
        run(page)
    assert caught.traceback[-1].lineno + 1 == 11
