"""How a drawing becomes a component, and how its clicks come back: with the fingerprint of what was clicked on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import streamlit as st

from workbench.app.components.kept import keep as keep_in_link
from workbench.figures.levels import palette

CHOSEN = "chosen"
"""The event that a drawing sends: ``{"fingerprint": text, "at": [numbers]}``."""


def declare(name: str, shared: tuple[str, ...]) -> Callable[..., Any]:
    """A component of a name, whose drawing is that of the reports.

    Args:
        name: of ``static/NAME.js``, beside this file: a function ``build(box, choose)`` that makes a drawing with a
            method ``update(data)``, which ``static/connect.js`` calls where the data change; and of
            ``static/NAME.css`` where it has a style of its own.
        shared: parts of ``workbench/report/static`` that it is made of, in order.
    """
    drawings = files("workbench.report").joinpath("static")
    own = files("workbench.app.components").joinpath("static")
    scripts = [drawings.joinpath(f"{part}.js").read_text("utf-8") for part in ("elements", *shared)]
    styles = [drawings.joinpath(f"{part}.css").read_text("utf-8") for part in shared]
    if (style := own.joinpath(f"{name}.css")).is_file():
        styles.append(style.read_text("utf-8"))
    return st.components.v2.component(
        f"workbench-{name}",
        html='<div class="root"></div>',
        css="\n".join([own.joinpath("theme.css").read_text("utf-8"), *styles]),
        js="\n".join([*scripts, *(own.joinpath(f"{part}.js").read_text("utf-8") for part in (name, "connect"))]),
    )


def framed(header: Mapping[str, Any], *parts: bytes) -> bytes:
    """Length of the header as JSON, the header, then bytes: what ``opened`` in ``static/connect.js`` takes apart."""
    text = json.dumps(header, allow_nan=False).encode()
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])


def palettes(signed: bool) -> tuple[bytes, bytes]:
    """The colours of all levels, on a light page and on a dark one."""
    return palette(signed, dark=False).tobytes(), palette(signed, dark=True).tobytes()


def mount(
    component: Callable[..., Any],
    data: Any,
    *,
    key: str,
    fingerprint: str,
    shape: tuple[int, ...],
    keep: str | None,
    on_choose: Callable[[tuple[int, ...]], None] | None = None,
) -> tuple[int, ...] | None:
    """Draw a component and return what was clicked in this run, or None.

    A click on a picture that was replaced meanwhile is ignored: the fingerprint it carries is not that of the picture
    drawn last.

    Args:
        key: of the component, and of its state in the session.
        fingerprint: of what is drawn: model, prompt, layer, head.
        shape: how many choices there are along each axis.
        keep: the name under which the choice is kept in the link (`kept`); None keeps nothing.
        on_choose: called with the choice before the page is drawn again; it may set what controls show.
    """
    drawn = f"drawn-{key}"

    def chose() -> None:
        # Runs before the page is drawn again, so that whatever stands above the picture shows the choice, too.
        at = _valid(st.session_state.get(key), str(st.session_state.get(drawn)), shape)
        if at is not None and keep is not None:
            keep_in_link(keep, at)
        if at is not None and on_choose is not None:
            on_choose(at)

    result = component(key=key, data=data, on_chosen_change=chose)
    clicked = _valid(result, str(st.session_state.get(drawn, fingerprint)), shape)
    st.session_state[drawn] = fingerprint
    return clicked


def _valid(state: Mapping[str, Any] | None, fingerprint: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    sent = None if state is None else state.get(CHOSEN)
    if not isinstance(sent, dict) or sent.get("fingerprint") != fingerprint:
        return None
    at = sent.get("at")
    if not isinstance(at, list) or len(at) != len(shape):
        return None
    if not all(type(n) is int and 0 <= n < count for n, count in zip(at, shape, strict=True)):
        return None
    return tuple(at)
