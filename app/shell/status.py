"""What the sidebar says about the view: tokens, where the model ran, seconds, and what was kept from before."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import streamlit as st

from workbench.app.serving import Server
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.app.shell.asking import Asked

_PLACE, _SPENT = "_status", "_spent"


def open_status() -> None:
    """Make the place in the sidebar that `tell_status` writes to, with nothing computed yet."""
    st.session_state[_PLACE] = st.sidebar.empty()
    renew_status()


def renew_status() -> None:
    """Count what is computed from here on: a part of a page is drawn alone."""
    st.session_state[_SPENT] = (0.0, 0, 0)


def tell_status(server: Server, asked: Asked | None, seconds: float, kept: bool) -> None:
    """Add one result of this view: how long it took, or that it was there."""
    if _PLACE not in st.session_state:  # a page drawn without the sidebar
        return
    spent, made, old = st.session_state[_SPENT]
    spent, made, old = (spent, made, old + 1) if kept else (spent + seconds, made + 1, old)
    st.session_state[_SPENT] = (spent, made, old)
    said = []
    for source in asked.models if asked is not None else ():
        there, facts = server.results.get(_key(source, asked.prompt_id if asked else ""))
        if there:
            count, device = facts
            said.append(f"{count:,} tokens on {device}")
    said = said[:1] if len(set(said)) == 1 else [f"{letter}: {one}" for letter, one in zip("AB", said, strict=False)]
    said.append(f"computed in {spent:.1f} s" if made else "from the cache")
    if made and old:
        said.append(f"{old} of {made + old} parts from the cache")
    st.session_state[_PLACE].caption(" · ".join(said))


def count_tokens(server: Server, asked: Asked) -> None:
    """Keep how many tokens the prompt has for the models that are loaded; a job calls it, never a page."""
    for source in asked.models:
        key = _key(source, asked.prompt_id)
        if source in server.models.loaded() and not server.results.get(key)[0]:
            with suppress(WorkbenchError), server.models.lend(source) as model:  # a model without a tokenizer has none
                device = next(model.parameters()).device.type
                server.results.put(key, (int(model.to_tokens(asked.prompt).shape[-1]), device))


def _key(source: str, prompt_id: str) -> tuple[str, str, str]:
    return ("tokens", source, prompt_id)
