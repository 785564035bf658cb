"""What one session remembers beside its controls: a name for itself, and notes; never a tensor."""

from __future__ import annotations

import uuid

import streamlit as st


def session_name() -> str:
    """A random name of this session, for jobs that several sessions wait for."""
    if "_session" not in st.session_state:
        st.session_state["_session"] = uuid.uuid4().hex
    return str(st.session_state["_session"])
