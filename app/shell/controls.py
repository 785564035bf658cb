"""Controls whose values live in the link, so that a link restores the view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import streamlit as st

Option = TypeVar("Option")

_TOLD = "_told"

_BEGAN = "_began"


def choice(
    label: str,
    options: Sequence[Option],
    key: str,
    *,
    default: Option | None = None,
    show: Callable[[Option], str] = str,
    help: str | None = None,
    steps: bool = False,
) -> Option:
    """One of several, by a drop-down; `key` is its name in the link.

    Args:
        steps: add buttons to the one before and the one after, with the keys K and J; for one control of a page.
    """
    said = _asked_for(key)
    index = options.index(default) if default is not None and default in options else 0
    if default is not None:
        _follow(key, options[index])
    with _row(steps):
        held = st.selectbox(label, options, index=index, key=key, format_func=show, help=help, bind="query-params")
        # Another page with a control of this name may have left its own value there: 2 where this one has the text "2".
        value = next((option for option in options if option == held or show(option) == str(held)), options[index])
        if steps:
            at = options.index(value)
            _step(key, label, options[at - 1] if at else None, options[at + 1] if at + 1 < len(options) else None)
    _tell(key, said, said not in [show(option) for option in options], label, show(value), "")
    return value


def number(
    label: str,
    low: int,
    high: int,
    key: str,
    *,
    default: int | None = None,
    help: str | None = None,
    steps: bool = False,
) -> int:
    """A whole number between two bounds, `low` and `high` among them.

    Args:
        steps: add buttons to the one before and the one after, with the keys K and J; for one control of a page.
    """
    said = _asked_for(key)
    start = min(max(low if default is None else default, low), high)
    if default is not None:
        _follow(key, start)
    with _row(steps):
        value = int(st.number_input(label, low, high, start, 1, key=key, help=help, bind="query-params"))
        if steps:
            _step(key, label, value - 1 if value > low else None, value + 1 if value < high else None)
    _tell(key, said, said != str(value), label, str(value), f"; there is {low} to {high}")
    return value


def switch(
    label: str, key: str, *, default: bool = False, help: str | None = None, shortcut: str | None = None
) -> bool:
    """Yes or no.

    Args:
        shortcut: a key that turns it, shown on a button beside it: ``"B"`` for a baseline.
    """
    with _row(shortcut is not None):
        value = st.toggle(label, default, key=key, help=help, bind="query-params")
        if shortcut is not None:
            st.button(
                f"{'Hide' if value else 'Show'}",
                key=f"turn-{key}",
                on_click=put,
                args=(key, not value),
                shortcut=shortcut,
            )
    return value


def text(label: str, key: str, *, default: str = "", help: str | None = None, placeholder: str | None = None) -> str:
    """A short text."""
    value = st.text_input(label, default, key=key, help=help, placeholder=placeholder, bind="query-params")
    return value or ""


def _row(wanted: bool) -> Any:
    return st.container(horizontal=wanted, vertical_alignment="bottom")


def _step(key: str, label: str, before: Any, after: Any) -> None:
    for name, icon, to, shortcut in (
        ("before", ":material/chevron_left:", before, "K"),
        ("after", ":material/chevron_right:", after, "J"),
    ):
        st.button(
            icon,
            key=f"{name}-{key}",
            help=f"{label}: the one {name}",
            on_click=put,
            args=(key, to),
            disabled=to is None,
            shortcut=shortcut,
        )


def put(key: str, value: Any) -> None:
    """Set a control from elsewhere, before it is drawn: a click on a map of heads chooses the head's number.

    That counts as moved by hand, also where the control happens to show what it began with.
    """
    st.session_state[key] = value
    st.session_state.setdefault(_BEGAN, {}).pop(key, None)


def _follow(key: str, start: Any) -> None:
    """Where nobody has moved a control, it shows what it begins with now: the best head of the model that is chosen."""
    began: dict[str, Any] = st.session_state.setdefault(_BEGAN, {})
    if key in began and began[key] != start and st.session_state.get(key) == began[key]:
        st.session_state[key] = start
    began[key] = start


def _asked_for(key: str) -> str | None:
    """What the link says, before the widget replaces what it does not know."""
    return st.query_params.get(key) if key not in st.session_state else None


def _tell(key: str, said: str | None, otherwise: bool, label: str, shown: str, offered: str) -> None:
    """Say what the link asked for where it is not shown, until another value is chosen."""
    told: dict[str, tuple[str, str]] = st.session_state.setdefault(_TOLD, {})
    if said is not None:
        told.pop(key, None)
        if otherwise:
            told[key] = (f"The link asked for {label} = {said[:40]!r}{offered}. Showing {shown}.", shown)
    if key in told:
        sentence, then = told[key]
        if then == shown:
            st.text(sentence)  # no Markdown: a link is not ours
        else:
            del told[key]
