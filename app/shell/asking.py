"""The sidebar: which models, which prompt. What it says is what every page looks at."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from workbench.app.serving import the_server

MODELS = (
    "zoo:attention",
    "zoo:mamba",
    "zoo:mamba2",
    "zoo:gated_delta",
    "zoo:gla",
    "zoo:mlstm",
    "zoo:retnet",
    "zoo:rg_lru",
    "zoo:rwkv4",
    "zoo:rwkv7",
    "zoo:lstm",
    "zoo:gru",
)
"""Offered in the sidebar; any other source can be typed."""

OFF = "off"

PROMPT = "The state of the Union is strong because our people are strong. The state of the Union is"
"""What the pages open on."""

_ASKED = "asked"


@dataclass(frozen=True)
class Asked:
    """What a session looks at.

    Attributes:
        model, other: sources as `workbench.load` takes them; `other` is None where there is no model B.
        prompt: the text, and `prompt_id` its name in links and result keys.
    """

    model: str
    other: str | None
    prompt: str
    prompt_id: str

    @property
    def models(self) -> tuple[str, ...]:
        """Model A, and B where there is one."""
        return (self.model,) if self.other is None else (self.model, self.other)


def sidebar() -> Asked:
    """Draw the sidebar and return what it asks for; nothing is computed while somebody types."""
    server = the_server()
    linked = st.query_params.get("prompt", "")
    with st.sidebar.form("asked-form", border=False):
        model = st.selectbox("Model A", MODELS, key="model", bind="query-params", accept_new_options=True)
        other = st.selectbox("Model B", (OFF, *MODELS), key="other", bind="query-params", accept_new_options=True)
        prompt = st.text_area(
            "Prompt", (server.workspace.prompt(linked) if linked else None) or PROMPT, key="prompt-text", height=140
        )
        st.form_submit_button("Run", type="primary", use_container_width=True)
    found = Asked(str(model), None if other == OFF else str(other), prompt, server.workspace.keep_prompt(prompt))
    if found.prompt != PROMPT or linked:
        st.query_params["prompt"] = found.prompt_id
    st.session_state[_ASKED] = found
    return found


def asked() -> Asked:
    """What the sidebar asks for."""
    found = st.session_state[_ASKED]
    assert isinstance(found, Asked)
    return found


def model_named(letter: str) -> str:
    """The source of model A or B, for code that needs it by letter."""
    found = asked()
    return found.model if letter == "A" or found.other is None else found.other
