"""The panel of the page State that edits states and shows what follows."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import streamlit as st

from workbench.app.components import token_strip
from workbench.app.serving import Job, the_server
from workbench.app.shell import Asked, computed, foot, number, plain
from workbench.app.views.state import Norms
from workbench.app.views.state_edits import MOST_EDITS, Kind, Outcome, StateEdit, edits_of, outcome, outcome_code
from workbench.errors import InputError
from workbench.figures.tokens import visible_text, visible_token

LINK = "edits"
"""The name of the queue of edits in the link."""

KEPT = "state-edits"
"""In the session: that queue, by model. Another page has another link."""

OTHER = "Our enemies have never been weaker. The state of their armies is"


def edit_panel(asked: Asked, norms: Norms, layer: int, head: int, position: int) -> None:
    """Draw the queue of edits, the form for another one, and what they do."""
    st.subheader("Change it, and see what follows", anchor=False)
    if LINK not in st.query_params and (kept := st.session_state.get(KEPT, {}).get(asked.model)):
        st.query_params[LINK] = kept
    try:
        edits = edits_of(st.query_params.get(LINK, ""))
    except InputError as error:
        st.warning(plain(f"The link asked for edits that there are not: {error}"))
        edits = ()
    st.session_state[KEPT] = {asked.model: ",".join(map(str, edits))}
    _form(edits, norms, layer, head, position)
    _queue(edits, norms)
    with st.columns([1, 2])[0]:
        length = number("Tokens to go on for", 1, 100, "tokens", default=20)
    if not edits:
        edits = (StateEdit("zero", layer, None, len(norms.tokens) - 1),)
        st.caption(f"No edit is queued yet; this is what the first of them would do: {edits[0].words().lower()}.")
    _outcome(asked, edits, length)


def _form(edits: tuple[StateEdit, ...], norms: Norms, layer: int, head: int, position: int) -> None:
    unit = norms.units[layer]
    with st.form("state-edit", border=True):
        first, second, third = st.columns(3)
        kind = first.selectbox("Edit", get_args(Kind), help="patch: put in another prompt's state")
        heads = [f"{unit} {head}", f"all {unit}s"]
        which = second.selectbox(f"Of layer {layer}, after token {position}", heads, help="As chosen in the map above")
        factor = third.number_input("Factor, of scale", -10.0, 10.0, 0.5, 0.25)
        other = st.text_input("Other prompt, of patch", OTHER, help="Its state is put in place of this one's")
        at = st.number_input("After its token (-1 is the last)", -1, 4096, -1, 1)
        if not st.form_submit_button("Add to the edits", type="primary"):
            return
    if len(edits) >= MOST_EDITS:
        st.error(f"There are {MOST_EDITS} edits already; undo one first.")
        return
    try:
        source = the_server().workspace.keep_prompt(other) if kind == "patch" else ""
    except InputError as error:
        st.error(str(error))
        return
    made = StateEdit(
        kind, layer, None if which == heads[1] else head, position, round(float(factor), 6), source, int(at)
    )
    st.query_params[LINK] = ",".join(map(str, (*edits, made)))
    st.rerun()


def _queue(edits: tuple[StateEdit, ...], norms: Norms) -> None:
    if not edits:
        return
    for number_of, edit in enumerate(edits, 1):
        st.text(f"{number_of}. {edit.words(norms.units.get(edit.layer, norms.unit))}")
        if edit.kind == "patch":
            st.text(f"    other prompt: {visible_text(the_server().workspace.prompt(edit.source) or '(not kept)')}")
    with st.container(horizontal=True):
        if st.button("Undo the last"):
            _set(edits[:-1])
        if st.button("Remove all"):
            _set(())


def _set(edits: tuple[StateEdit, ...]) -> None:
    if edits:
        st.query_params[LINK] = ",".join(map(str, edits))
    else:
        st.query_params.pop(LINK, None)
        st.session_state.pop(KEPT, None)
    st.rerun()


def _outcome(asked: Asked, edits: tuple[StateEdit, ...], length: int) -> None:
    workspace = the_server().workspace
    prompts = {edit.source: workspace.prompt(edit.source) or "" for edit in edits if edit.kind == "patch"}
    prompts = {name: text for name, text in prompts.items() if text}

    def work(job: Job) -> Outcome:
        with the_server().models.lend(asked.model) as model:
            return outcome(model, asked.prompt, edits, prompts, length)

    key = ("state-edits", asked.model, asked.prompt_id, ",".join(map(str, edits)), length)
    found = computed("reading the prompt with the edits", key, work)
    left, right = st.columns(2)
    left.text("Without the edits it goes on:")
    left.code(visible_text(found.before), language=None, wrap_lines=True)
    right.text("With them:")
    right.code(visible_text(found.after), language=None, wrap_lines=True)
    st.text(f"The prediction after the prompt moves by {found.divergence[-1]:.3g} nats (KL).")
    table = found.next_tokens.assign(token=[visible_token(token) for token in found.next_tokens["token"]])
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        column_config={
            "token": "next token",
            "before": st.column_config.NumberColumn("probability", format="%.3f"),
            "after": st.column_config.NumberColumn("with the edits", format="%.3f"),
            "logit_change": st.column_config.NumberColumn("Δ logit", format="%+.2f"),
        },
    )
    st.caption("The likeliest next tokens, of either run: their probability without and with the edits.")
    token_strip(
        found.tokens,
        found.divergence,
        key="state-divergence",
        fingerprint=f"{key}",
        signed=False,
        name="KL, nats",
        label="How much the prediction changes, token by token",
    )
    st.caption(
        "KL divergence of the prediction at each token, unedited from edited, in nats: how far the edit reaches."
    )
    foot(
        "state-edits",
        code=outcome_code(asked.model, asked.prompt, edits, prompts, length),
        data=pd.DataFrame({"token": found.tokens, "divergence": np.asarray(found.divergence)}),
        method="An edit is made right after its token; the later states are computed from it. Edits of one token are "
        "made in their order. The continuation is greedy and goes on from the edited memory. A convolution's last "
        "inputs, and the normalisers of exponential gates, are left as they are.",
    )
