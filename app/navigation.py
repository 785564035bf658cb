"""Which pages there are, in which order."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import streamlit as st


@dataclass(frozen=True)
class Entry:
    """A page: `name` is its module in `workbench.app.screens` and its place in links."""

    section: str
    name: str
    title: str
    icon: str


ENTRIES = (
    Entry("Look", "models", "Models", ":material/deployed_code:"),
    Entry("Look", "attention", "Attention", ":material/grid_on:"),
    Entry("Look", "heads", "Heads", ":material/view_module:"),
    Entry("Look", "lens", "Lens", ":material/stacked_line_chart:"),
    Entry("Look", "features", "Features", ":material/category:"),
    Entry("Look", "state", "State", ":material/memory:"),
    Entry("Change", "ablate", "Ablate", ":material/content_cut:"),
    Entry("Keep", "studies", "Studies", ":material/science:"),
)
"""Every page has a module `workbench.app.screens.NAME` with a function `draw`."""

FIRST = "attention"
"""What opens where a link names no page: a picture, with a sentence on reading it."""


def pages() -> dict[str, list[Any]]:
    """The pages by section, as `st.navigation` takes them."""
    made: dict[str, list[Any]] = {}
    for entry in ENTRIES:
        made.setdefault(entry.section, []).append(page(entry.name))
    # Streamlit gives its default page no name in links, so a link to it by name would find nothing.
    made[ENTRIES[0].section].insert(
        0, st.Page(_open, title="workbench", url_path="", default=True, visibility="hidden")
    )
    return made


def page(name: str) -> Any:
    """The page of a name, also for `st.page_link`."""
    entry = next(entry for entry in ENTRIES if entry.name == name)

    def draw() -> None:
        importlib.import_module(f"workbench.app.screens.{entry.name}").draw()

    return st.Page(draw, title=entry.title, icon=entry.icon, url_path=entry.name)


def _open() -> None:
    st.switch_page(page(FIRST), query_params=st.query_params.to_dict())
