"""Links from one page to a view on another."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

import streamlit as st


def view_link(name: str, label: str, **query: str) -> None:
    """Draw a link that opens a page with its controls as `query` says.

    It is the browser's own, which opens the page anew: `st.page_link` keeps the model that the sidebar has, whichever
    the link names, and puts both into the address.

    Args:
        name: of a page: ``"attention"``.
        label: what stands there, as plain text.
        query: values of controls by their names in links: ``model="zoo:mamba"``.
    """
    address = escape(f"{name}?{urlencode(query)}")
    st.html(f'<a href="{address}" target="_self" style="color:inherit">{escape(label)}</a>')
