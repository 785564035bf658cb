"""A list of rows, one of which is chosen: by a click, or with the arrow keys and Enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import streamlit as st

from workbench.app.components.mounting import CHOSEN, declare
from workbench.figures.tokens import visible_text


def rows(
    shown: Sequence[tuple[int, Sequence[str]]],
    heads: Sequence[str],
    *,
    key: str,
    fingerprint: str,
    chose: Callable[[int], None],
    chosen: int | None = None,
    soft: Sequence[int] = (),
    label: str = "Choose one",
    height: int | None = None,
) -> None:
    """Draw the list.

    Args:
        shown: a number each, which a click tells, and the cells. Cells are plain text: nothing in them means anything.
        heads: of the columns; the first column and the last are as narrow as they can be.
        key: of the component.
        fingerprint: of what is shown; clicks on an older list are ignored.
        chose: called with the number of the row, before the page is drawn again.
        chosen: the number of the row that is marked.
        soft: numbers of rows whose second cell is not a name but a hint, and fainter.
        label: what the list is, for screen readers.
        height: pixels after which it scrolls.
    """
    drawn = f"drawn-{key}"

    def clicked() -> None:
        sent = (st.session_state.get(key) or {}).get(CHOSEN)
        if not isinstance(sent, dict) or sent.get("fingerprint") != st.session_state.get(drawn):
            return
        at = sent.get("at")
        known: list[int] = st.session_state.get(f"{drawn}-rows", [])
        if isinstance(at, list) and len(at) == 1 and at[0] in known:
            chose(at[0])

    data = {
        "rows": [[number, [visible_text(cell) for cell in cells]] for number, cells in shown],
        "heads": list(heads),
        "chosen": chosen,
        "soft": list(soft),
        "label": label,
        "height": height,
        "fingerprint": fingerprint,
    }
    _component()(key=key, data=data, on_chosen_change=clicked)
    st.session_state[drawn] = fingerprint
    st.session_state[f"{drawn}-rows"] = [number for number, _ in shown]


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("rows", ())
