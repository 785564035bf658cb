"""The head of a page: its title and one sentence on reading it."""

from __future__ import annotations

import streamlit as st

from workbench.app.shell.asking import Asked, asked


def begin(title: str, sentence: str) -> Asked:
    """Draw the head of a page and return what the sidebar asks for."""
    st.title(title, anchor=False)
    st.caption(sentence)
    return asked()
