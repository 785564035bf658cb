"""Controls whose values live in the link, so that a link restores the view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

Option = TypeVar("Option")


def choice(
    label: str,
    options: Sequence[Option],
    key: str,
    *,
    default: Option | None = None,
    show: Callable[[Option], str] = str,
    help: str | None = None,
) -> Option:
    """One of several, by a drop-down; `key` is its name in the link."""
    said = _asked_for(key)
    index = options.index(default) if default is not None and default in options else 0
    value = st.selectbox(label, options, index=index, key=key, format_func=show, help=help, bind="query-params")
    assert value is not None
    _tell(key, said, show(value), [show(option) for option in options])
    return value  # type: ignore[return-value]


def number(label: str, low: int, high: int, key: str, *, default: int | None = None, help: str | None = None) -> int:
    """A whole number between two bounds, `low` and `high` among them."""
    said = _asked_for(key)
    start = min(max(low if default is None else default, low), high)
    value = int(st.number_input(label, low, high, start, 1, key=key, help=help, bind="query-params"))
    if said is not None and said.lstrip("-").isdigit() and not low <= int(said) <= high:
        st.caption(f"The link asked for {label} {said}; there is {low} to {high}. Showing {value}.")
    return value


def switch(label: str, key: str, *, default: bool = False, help: str | None = None) -> bool:
    """Yes or no."""
    return st.toggle(label, default, key=key, help=help, bind="query-params")


def text(label: str, key: str, *, default: str = "", help: str | None = None, placeholder: str | None = None) -> str:
    """A short text."""
    value = st.text_input(label, default, key=key, help=help, placeholder=placeholder, bind="query-params")
    return value or ""


def _asked_for(key: str) -> str | None:
    """What the link says, before the widget replaces what it does not know."""
    return st.query_params.get(key) if key not in st.session_state else None


def _tell(key: str, said: str | None, shown: str, known: Sequence[str]) -> None:
    if said is not None and said not in known:
        st.caption(f"The link asked for {key} = {said!r}; showing {shown}.")
