"""The head of a feature: its number, the one before and after, its label, how often it fires."""

from __future__ import annotations

import streamlit as st

from workbench.app.screens.features.listing import FEATURE, Order, go
from workbench.app.serving import the_server
from workbench.app.shell import asked, plain, view_link
from workbench.app.views.features.facts import Facts, facts_of
from workbench.app.views.features.proposing import AUTHOR, HOW, LONGEST_LABEL, save_proposal
from workbench.app.views.features.stores import OpenStore
from workbench.errors import InputError

_SAID = "features-label-said"


def heading(opened: OpenStore, order: Order) -> Facts:
    """Draw it."""
    feature = int(st.session_state[FEATURE])
    facts = facts_of(opened, feature)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(f"Feature {feature}", anchor=False, width="content")
        for name, key, step in (("Previous", "K", -1), ("Next", "J", 1)):
            to = order.beside(feature, step)
            st.button(
                name, key=f"go-{name}", shortcut=key, disabled=to is None, on_click=go, args=(to,), type="secondary"
            )
        with st.popover("Go to"):
            last, key = opened.info.d_sae - 1, f"jump-{feature}"
            st.number_input("Feature number", 0, last, feature, key=key, on_change=_jump, args=(key,))
        _send_to_ablate(opened, feature)
        if order.place(feature) is None:
            st.caption("not in the list")
    _label(opened, facts)
    if facts.dead:
        st.warning(facts.sentence())
    else:
        st.caption(facts.sentence())
    return facts


def _jump(key: str) -> None:
    go(int(st.session_state[key]))


def _send_to_ablate(opened: OpenStore, feature: int) -> None:
    source = opened.sae_source or (opened.folder / "sae").relative_to(the_server().workspace.root).as_posix()
    view_link("ablate", "Ablate it", model=asked().model, prompt=asked().prompt_id, features=f"{source}#{feature}")


def _label(opened: OpenStore, facts: Facts) -> None:
    """The label, which is saved when the field is left or Enter is pressed."""
    known = facts.label
    # Another key for another label, so that one that was changed elsewhere is what is shown.
    key = f"label-{facts.feature}-{'' if known is None else known.changed + known.source}"
    field, offer = st.columns([3.4, 1], gap="small", vertical_alignment="center")
    field.text_input(
        "Label",
        "" if known is None else known.label,
        max_chars=LONGEST_LABEL,
        key=key,
        placeholder="What does it stand for? Write a label; Enter saves it.",
        label_visibility="collapsed",
        on_change=_save,
        args=(opened, facts.feature, key),
    )
    by_person = known is not None and known.source == "human"
    offer.button(
        "Propose a label",
        key="propose-label",
        width="stretch",
        disabled=facts.dead or by_person,
        help="It never fires, so there are no texts to make a label of."
        if facts.dead
        else "A person has labelled it; that label stands. Empty the field to remove it."
        if by_person
        else f"A label that is {HOW}.",
        on_click=_propose,
        args=(opened, facts.feature),
    )
    failed = st.session_state.pop(_SAID, None)
    if failed:
        st.error(plain(failed))
    if known is not None:
        who = "by a person" if by_person else f"automatically, by {known.author or 'a program'}"
        if known.author == AUTHOR:
            who = f"automatically, from tokens and logits: {HOW}"
        score = (
            "" if known.detection is None else f"; it sorts {known.detection:.0%} of other texts rightly (chance 50%)"
        )
        st.caption(f"Labelled {who}{score}, saved {known.changed.replace('T', ' ').removesuffix('+00:00')} UTC.")


def _propose(opened: OpenStore, feature: int) -> None:
    try:
        save_proposal(opened, feature)
    except InputError as error:
        st.session_state[_SAID] = str(error)


def _save(opened: OpenStore, feature: int, key: str) -> None:
    said = str(st.session_state[key] or "").strip()
    labels = opened.store.labels
    try:
        if said:
            labels.set(feature, said)
        elif labels.get(feature) is not None:
            labels.remove(feature)
    except InputError as error:
        st.session_state[_SAID] = str(error)
