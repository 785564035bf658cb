"""Which store is looked at: those of the workspace, the model's own ones first."""

from __future__ import annotations

import streamlit as st

from workbench.app.screens.features.building import OPEN_NEXT
from workbench.app.serving import the_server
from workbench.app.serving.sources import called
from workbench.app.shell import choice, end_page, plain
from workbench.app.views.features.stores import Found, OpenStore, find_stores, open_store
from workbench.errors import InputError

BUILD = "build another"
STORE = "store"
"""The store that is shown: in the session and in the link."""


def any_store() -> bool:
    """Whether the workspace has a store that can be looked at."""
    if _finished():
        return True
    if STORE in st.query_params:
        st.caption(plain(f"The link asked for the store {st.query_params[STORE]!r}, which is not in this workspace."))
    return False


def chosen_store(model: str) -> OpenStore | None:
    """Let a store be chosen; None where another one is to be built."""
    found = _finished()
    own = [one.name for one in found if one.is_of(model)]
    names = [*own, *(one.name for one in found if one.name not in own), BUILD]
    _follow(model, own, names)
    name = choice(
        "Feature store",
        names,
        STORE,
        default=own[0] if own else BUILD,
        help="Stores of the workspace; those of model A come first.",
    )
    if name == BUILD:
        return None
    chosen = next(one for one in found if one.name == name)
    of = f"{called(chosen.model)}, {chosen.site}"
    st.caption(f"{chosen.features:,} features of {plain(of)}, read on {chosen.tokens:,} tokens.")
    if not chosen.is_of(model):
        st.info(f"Model A is {plain(called(model))}. To try a text or to steer, take this store's model.")
        st.button(f"Use {called(chosen.model)}", on_click=use_model, args=(chosen.model,))
    try:
        return open_store(chosen.folder)
    except InputError as error:
        st.error(plain(str(error)))
        end_page()


def use_model(name: str) -> None:
    """Make a model the sidebar's model A, before the page is drawn again."""
    st.session_state["model"] = name


def _finished() -> list[Found]:
    return [one for one in find_stores(the_server().workspace) if one.finished]


def _follow(model: str, own: list[str], names: list[str]) -> None:
    """Go to a store that was just built, or to one of a model that was just chosen."""
    before = st.session_state.get("features-model")
    st.session_state["features-model"] = model
    built = st.session_state.pop(OPEN_NEXT, None)
    if built in names:
        st.session_state[STORE] = built
    elif before not in (None, model) and st.session_state.get(STORE) not in own:
        st.session_state[STORE] = own[0] if own else BUILD
    elif st.session_state.get(STORE) not in names:
        st.session_state.pop(STORE, None)
