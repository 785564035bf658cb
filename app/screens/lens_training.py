"""Training a tuned lens from the Lens page, where a model has none."""

from __future__ import annotations

import streamlit as st

from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import about_seconds, choice, computed, number
from workbench.app.views.tuned import ROWS, Tuned, lens_folder, step_seconds, texts_of, train_lens, training_code


def draw_training(model: str, letter: str) -> None:
    """Say that there is no tuned lens, and offer to train one or say why that cannot be done."""
    server = the_server()
    st.subheader("Tuned lens", anchor=False)
    texts = texts_of(server.workspace)
    if not texts:
        st.info(
            f"There is no tuned lens for {called(model)}, and no text to train one on: put a *.txt file into the "
            f"workspace {server.workspace.root} (some 20 kB at least), then reload this page."
        )
        return
    st.info(f"There is no tuned lens for {called(model)} yet. It can be trained here and is kept in the workspace.")
    suffix = "" if letter == "A" else "-b"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = choice("Train on", tuple(texts), f"text{suffix}", help="Text files of the workspace; more is better.")
        steps = number("Steps", 10, 2000, f"steps{suffix}", default=100, help=f"{ROWS} windows of 128 tokens each.")
    text, folder = texts[name], lens_folder(server.workspace, model)

    def pace(job: Job) -> float:
        with server.models.lend(model) as lent:
            return step_seconds(lent, text)

    def work(job: Job) -> Tuned:
        with server.models.lend(model) as lent:
            return train_lens(lent, model, text, name, steps, folder)

    key = ("lens-train", model, name, steps)
    if server.jobs.find(key) is None:
        seconds = steps * computed("timing a step of training", ("lens-step", model, name), pace)
        with st.popover("Code", help="Python that trains the same lens"):
            st.code(training_code(model, text, steps, folder), language="python")
        if not st.button(f"Train a tuned lens, {about_seconds(seconds)}", type="primary", key=f"train-{letter}"):
            return
    computed(f"training a tuned lens for {called(model)}", key, work)
    # What counts from here on is the lens in the workspace, which somebody may delete and train again.
    server.jobs.forget(key)
    server.results.forget(key)
    st.rerun()
