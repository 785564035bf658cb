"""Which store is looked at; where there is none for the model, the one that can be built."""

from __future__ import annotations

import streamlit as st

from workbench.app.screens.features.building import build_panel
from workbench.app.serving import the_server
from workbench.app.shell import choice
from workbench.app.views.features.stores import OpenStore, find_stores, open_store
from workbench.errors import InputError

BUILD = "build another"

OPEN_NEXT = "features-open-next"
"""In the session: the store to be opened when the page is drawn again."""


def chosen_store(model: str) -> OpenStore:
    """The store that is chosen; the page ends here where there is none yet."""
    found = [one for one in find_stores(the_server().workspace) if one.finished]
    own = [one.name for one in found if one.is_of(model)]
    names = [*own, *(one.name for one in found if one.name not in own), BUILD]
    following = st.session_state.pop(OPEN_NEXT, None)
    if following in names:
        st.session_state["store"] = following
    elif st.session_state.get("store") not in names:
        st.session_state.pop("store", None)
    name = BUILD
    if found:
        # A model that was chosen after the store takes the place of the store's.
        _follow_model(model, own)
        name = choice(
            "Feature store",
            names,
            "store",
            default=own[0] if own else BUILD,
            help="Stores found in the workspace; those of model A come first.",
        )
    elif "store" in st.query_params:
        st.caption(f"The link asked for the store {st.query_params['store']!r}, which is not in this workspace.")
    if name == BUILD:
        build_panel(model, OPEN_NEXT)
        st.stop()
    chosen = next(one for one in found if one.name == name)
    st.caption(f"{chosen.features:,} features of {chosen.model} at {chosen.site}, read on {chosen.tokens:,} tokens.")
    if not chosen.is_of(model):
        st.info(
            f"This store is of {chosen.model}, and model A is {model}. Its features can be looked at; to try a text or "
            f"to steer, choose {chosen.model} as model A."
        )
        st.button("Use that model", on_click=use_model, args=(chosen.model,))
    try:
        return open_store(chosen.folder)
    except InputError as error:
        st.error(str(error))
        st.stop()


def use_model(name: str) -> None:
    """Make a model the sidebar's model A, before the page is drawn again."""
    st.session_state["model"] = name


def _follow_model(model: str, own: list[str]) -> None:
    before = st.session_state.get("features-model")
    st.session_state["features-model"] = model
    if before not in (None, model) and st.session_state.get("store") not in own:
        st.session_state["store"] = own[0] if own else BUILD
