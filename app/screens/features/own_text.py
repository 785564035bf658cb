"""The box for a text of one's own on the panel "Try a text"; its text is named in the link by its id."""

from __future__ import annotations

import streamlit as st

from workbench.app.serving import the_server
from workbench.app.shell import asked, plain
from workbench.errors import InputError

TRIED = "try"
"""In the link: the id of the text that is tried; without it, it is the sidebar's prompt."""

_BOX = "try-text"
_OWN = "features-own-text"
_SHOWN = "features-text-shown"
_SAID = "features-own-text-said"


def tried_text() -> tuple[str, str]:
    """Draw the box; the text that is tried, and its id. What is typed counts once the button is pressed."""
    _follow_link()
    own: tuple[str, str] | None = st.session_state.get(_OWN)
    text, text_id = own or (asked().prompt, asked().prompt_id)
    # Another text, or a box that was not drawn lately: the box shows what is tried, and else what is typed into it.
    if st.session_state.get(_SHOWN) != text_id or _BOX not in st.session_state:
        st.session_state[_BOX] = text
        st.session_state[_SHOWN] = text_id
    if own is not None:
        st.query_params[TRIED] = text_id
    with st.form("try-form", border=False):
        st.text_area("Text", key=_BOX, height=100, help="It is kept in the workspace, as prompts are.")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.form_submit_button("Try it", type="primary", on_click=_take)
            if own is not None:
                st.form_submit_button("Back to the sidebar's prompt", on_click=_back)
    if said := st.session_state.pop(_SAID, None):
        st.error(plain(said))
    return text, text_id


def _take() -> None:
    text = str(st.session_state[_BOX] or "").encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    if not text.strip():
        st.session_state[_SAID] = "The text is empty; type one, and press Try it."
        return
    try:
        text_id = the_server().workspace.keep_prompt(text)
    except InputError as error:
        st.session_state[_SAID] = str(error)
        return
    _forget_token()
    st.session_state[_OWN] = text, text_id
    st.query_params[TRIED] = text_id


def _back() -> None:
    _forget_token()
    st.session_state.pop(_OWN, None)
    st.query_params.pop(TRIED, None)


def _forget_token() -> None:
    """A token that was chosen in another text means nothing in this one."""
    st.query_params.pop("token", None)


def _follow_link() -> None:
    linked = st.query_params.get(TRIED)
    own: tuple[str, str] | None = st.session_state.get(_OWN)
    if linked is None or (own is not None and own[1] == linked):
        return
    text = the_server().workspace.prompt(linked)
    if text is None:
        st.caption(plain(f"The link asked for the text {linked[:40]!r}, which is not in this workspace."))
        st.query_params.pop(TRIED, None)
    else:
        st.session_state[_OWN] = text, linked
