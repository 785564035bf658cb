"""Steer: what the model writes with the feature turned up or taken out, beside what it writes without."""

from __future__ import annotations

from dataclasses import astuple
from typing import get_args

import streamlit as st

from workbench.app.screens.features.trying import is_its_model
from workbench.app.serving import Job, the_server
from workbench.app.shell import asked, computed, foot, plain
from workbench.app.views.features import scripts
from workbench.app.views.features.facts import Facts
from workbench.app.views.features.steering import (
    LEVELS,
    MOST_TOKENS,
    WAYS,
    Steer,
    Ways,
    called,
    levels_of,
    parse_strengths,
    steered,
)
from workbench.app.views.features.stores import OpenStore
from workbench.errors import InputError
from workbench.saes.features.batch import FeatureBatch
from workbench.saes.using import Steering

_ASKED = "features-steer"
_BARE = "features-steer-bare"

SAME = " · the same text as unsteered"

BESIDE = 2
"""Texts beside each other, the unsteered one first."""


def steering_panel(opened: OpenStore, facts: Facts, tables: FeatureBatch) -> None:
    """Draw the panel."""
    model, prompt = asked().model, asked().prompt
    if not is_its_model(opened, model):
        return
    if facts.dead:
        st.info("It never fires in this text, so there is no largest activation to count strengths in.")
        return
    _form()
    spec: Steer | None = st.session_state.get(_ASKED)
    if st.session_state.get(f"{_ASKED}-said"):
        st.error(plain(st.session_state[f"{_ASKED}-said"]))
        return
    if spec is None:
        return

    def work(job: Job) -> Steering:
        with the_server().models.lend(model) as lent:
            return steered(lent, opened, facts.feature, facts.most, prompt, spec)

    key = ("features", "steer", model, str(opened.folder), facts.feature, asked().prompt_id, *astuple(spec))
    found = computed("writing, steered and not", key, work)
    _texts(found, spec)
    foot(
        f"steer-{facts.feature}",
        code=scripts.steering_code(model, opened.folder, facts.feature, facts.most, prompt, spec, found.strengths),
        data=found.table(),
        method=(
            "At every token, the prompt's included, the autoencoder reads the vector, the feature is changed, and what "
            "the autoencoder does not explain stays. KL: mean divergence in nats a token of the steered from the "
            "unsteered predictions, on the prompt and the unsteered text. Repetition: share of 4-grams that were "
            f"written before. Strength 1 is the feature's largest activation in the store's text, {facts.most:.6g} in "
            "the autoencoder's unit. Without strengths the page looks for those at which KL is "
            f"{_levels()}, at 11 strengths from 1/64 to 16 and between them by a power law."
        ),
    )


def _form() -> None:
    with st.form("steer-form"):
        first, second = st.columns([1, 1.6])
        ways, plain = get_args(Ways), Steer()
        first.selectbox("What to do", ways, format_func=WAYS.__getitem__, key="steer-how", bind="query-params")
        second.text_input(
            "Strengths, times its largest activation",
            key="steer-strengths",
            placeholder=f"empty: {', '.join(LEVELS).lower()} ones are searched",
            help=f"Such as 0.5, 1, 2. Without any, those are searched at which KL is {_levels()}: how far the next "
            "words become others, in nats a token.",
            bind="query-params",
        )
        third, fourth, fifth, sixth = st.columns(4, vertical_alignment="bottom")
        third.number_input("Tokens to write", 1, MOST_TOKENS, plain.tokens, key="steer-tokens", bind="query-params")
        fourth.number_input(
            "Temperature",
            0.0,
            2.0,
            plain.temperature,
            0.1,
            key="steer-temperature",
            help="0 takes the likeliest word at every step, and small models then soon repeat themselves.",
            bind="query-params",
        )
        fifth.number_input("Seed", 0, 2**31 - 1, plain.seed, key="steer-seed", bind="query-params")
        sixth.form_submit_button("Steer", type="primary", width="stretch", on_click=_ask)
    st.caption("The model goes on from the sidebar's prompt, once as it is and once for each strength, with one seed.")


def _levels() -> str:
    *some, last = (f"{kl:g}" for kl in LEVELS.values())
    return f"{', '.join(some)} and {last}"


def _ask() -> None:
    state = st.session_state
    state[f"{_ASKED}-said"] = None
    try:
        state[_ASKED] = Steer(
            state["steer-how"],
            () if state["steer-how"] == "ablate" else parse_strengths(state["steer-strengths"]),
            int(state["steer-tokens"]),
            float(state["steer-temperature"]),
            int(state["steer-seed"]),
        )
    except InputError as error:
        state[f"{_ASKED}-said"] = str(error)


def _texts(found: Steering, spec: Steer) -> None:
    bare = bool(st.session_state.get(_BARE))
    unsteered, levels = found.strengths.index(0.0), levels_of(found, spec)
    shown = [number for number, strength in enumerate(found.strengths) if strength or not bare]
    for first in range(0, len(shown), BESIDE):
        for column, number in zip(st.columns(BESIDE, gap="small"), shown[first : first + BESIDE], strict=False):
            with column, st.container(border=True):
                strength = found.strengths[number]
                st.markdown(f"**{called(strength, spec.how, levels.get(strength, ''))}**")
                st.text(found.texts[number])
                cost = "" if strength == 0 else f"KL {found.kl[number]:.2f} nats a token · "
                same = strength != 0 and found.texts[number] == found.texts[unsteered]
                st.caption(f"{cost}repetition {found.repetition[number]:.0%}" + (SAME if same else ""))
    st.button(
        "Show the unsteered text" if bare else "Hide the unsteered text",
        shortcut="B",
        key="steer-baseline",
        on_click=st.session_state.update,
        args=({_BARE: not bare},),
    )
    if all(text == found.texts[unsteered] for text in found.texts):
        st.info(
            "The feature changed no word. Try greater strengths, a temperature above 0, or a prompt that leaves more "
            "open: words that the text has already made nearly certain are hard to change."
        )
