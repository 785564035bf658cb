"""What the site says: every name that it names exists, every error page shows what is really said."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from workbench import errors

from .test_pages import BLOCK
from .tree import ROOT

NAME = re.compile(r"`(workbench(?:\.\w+)+)[`(]")
SAID = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ERRORS = ROOT / "docs" / "errors"


def of_name(name: str) -> Any:
    """What a dotted name stands for; an AttributeError or ImportError where there is nothing."""
    value: Any = importlib.import_module("workbench")
    at = "workbench"
    for part in name.split(".")[1:]:
        at = f"{at}.{part}"
        value = getattr(value, part, None) or importlib.import_module(at)
    return value


@pytest.mark.parametrize("name", sorted(set(NAME.findall((ROOT / "docs" / "coming-from.md").read_text("utf-8")))))
def test_a_name_in_the_table_of_other_tools_calls_exists(name: str) -> None:
    assert of_name(name) is not None


def classes() -> set[str]:
    found = [errors.WorkbenchError]
    for one in found:
        found.extend(one.__subclasses__())
    return {one.__name__ for one in found if one.__module__ == errors.__name__} - {"WorkbenchError"}


def test_every_error_has_a_page_and_a_line_in_the_list() -> None:
    titles = {page.read_text("utf-8").split("\n")[0].removeprefix("# ") for page in ERRORS.glob("*.md")}
    listed = set(re.findall(r"^\| \[(\w+)\]", (ERRORS / "index.md").read_text("utf-8"), re.MULTILINE))
    assert titles - {"When something fails"} == classes() == listed


@pytest.mark.parametrize("page", sorted(ERRORS.glob("*.md")), ids=lambda page: page.stem)
def test_an_error_page_shows_what_is_said(page: Path) -> None:
    text = page.read_text("utf-8")
    source, said = BLOCK.search(text), SAID.search(text)
    assert (source is None) == (said is None)
    if source is None or said is None:
        return
    with pytest.raises(errors.WorkbenchError) as caught:
        exec(compile(source[1], str(page), "exec"), {"__name__": page.stem})
    told = f"{type(caught.value).__name__}: {caught.value}"
    assert plain(told) == plain(said[1])


def plain(text: str) -> str:
    """Without line breaks and numbers: versions and rounding differ."""
    return re.sub(r"\d[\d.e+-]*(\+cpu|\+cu\d+)?", "0", textwrap.fill(text, 10_000)).strip()
