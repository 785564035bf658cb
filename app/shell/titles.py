"""The head of a page: its title and one sentence on reading it."""

from __future__ import annotations

import streamlit as st

from workbench.app.shell.asking import Asked, asked


def begin(title: str, sentence: str, *, alone: bool = False) -> Asked:
    """Draw the head of a page and return what the sidebar asks for.

    Args:
        alone: the page shows model A only, and says so where a model B is chosen.
    """
    st.title(title, anchor=False)
    st.caption(sentence)
    found = asked()
    if alone and found.other is not None:
        st.caption("This page shows model A alone; Attention, Heads and Lens show both.")
    return found
