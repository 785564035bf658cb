"""Ablate: what a model does without some of its components."""

from __future__ import annotations

import numpy as np
import streamlit as st

from workbench.app.components import token_strip
from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import Asked, about_seconds, begin, choice, computed, end_page, foot, number
from workbench.app.views.ablate import (
    TokenLosses,
    ablation_code,
    components_of,
    token_losses,
    token_losses_code,
    worked_example,
)
from workbench.app.views.ablation_effects import effect_figure, in_words, shown_of
from workbench.app.views.ablation_study import (
    FEATURE,
    MATCHES,
    OWN_TEXT,
    Asking,
    Measured,
    run_ablation,
    seconds_for,
    study_file,
    write_inputs,
)
from workbench.errors import WorkbenchError
from workbench.report.files import write_atomically
from workbench.studies import METRICS
from workbench.tasks import task_names

METHODS = {
    "mean": "mean: what the component writes on average over prompts and positions, so that a constant stays",
    "zero": "zero: nothing at all",
    "resample": "resample: what the component writes on another prompt of the same length",
}

CHIPS = "ablate-chips"

EXAMPLE = "ablate-example"

KEPT = "ablate-kept"
"""In the session: the components chosen last, by model. What a widget holds goes when another page is opened."""


def draw() -> None:
    """Draw the page."""
    asked = begin(
        "Ablate",
        "Take components out and see what gets worse. An effect counts where random sets of as many do less.",
        alone=True,
    )
    parts = computed("reading the model's parts", ("ablate-parts", asked.model), lambda job: _parts(asked.model))
    asking, pressed = _form(asked, parts)
    if not asking.chips:
        st.info("Choose what to take out: a head (L1H2), a mixer (L1.mixer), an MLP (L0.mlp) or a layer (L2).")
        return
    _effects(asking, pressed)
    _tokens(asking, asked.prompt_id)


def _parts(source: str) -> list[str]:
    with the_server().models.lend(source) as model:
        return components_of(model)


def _form(asked: Asked, parts: list[str]) -> tuple[Asking, bool]:
    """What the visitor asks for, and whether the button was pressed just now."""
    linked = [chip for name in ("sites", "features") for chip in st.query_params.get(name, "").split(",") if chip]
    example = list(worked_example(parts))
    # The example follows the model until something else was chosen.
    if CHIPS not in st.session_state or st.session_state[CHIPS] == st.session_state.get(EXAMPLE) != example:
        kept = st.session_state.get(KEPT, {}).get(asked.model)
        st.session_state[CHIPS] = (linked or kept or example) if CHIPS not in st.session_state else example
    st.session_state[EXAMPLE] = example
    only_features = bool(linked) and all(FEATURE in chip for chip in linked)
    with st.form("ablate-form", border=False):
        chips = st.multiselect(
            "Components to take out",
            list(dict.fromkeys([*parts, *st.session_state[CHIPS]])),
            key=CHIPS,
            accept_new_options=True,
            help="Type to search, Enter to add: L1H2 is a head, L0H0:64 heads 0 to 63, L1.mixer, L0.mlp, L2 a layer, "
            "zoo:mamba/resid_post#12 a feature of an autoencoder.",
        )
        first, second, third, fourth = st.columns([3, 5, 3, 4])  # the names of tasks are long
        with first:
            method = choice(
                "Put in their place",
                list(METHODS),
                "method",
                default="zero" if only_features else "mean",
                help="; ".join(METHODS.values()),
            )
        with second:
            inputs = choice(
                "Measure on",
                [OWN_TEXT, *task_names()],
                "inputs",
                default="repeated_random_tokens",
                help="A task of the workbench, or the prompt in the sidebar.",
            )
        with third:
            count = number("Prompts", 2, 256, "prompts", default=12, help="Of the task, or windows of a long prompt.")
        with fourth:
            match = choice(
                "Random controls",
                MATCHES,
                "controls",
                help="As many other components of the same kind: from the same layers, from any layer, or (auto) from "
                "the same layers where those have enough.",
            )
        pressed = st.form_submit_button("Ablate", type="primary")
    st.session_state[KEPT] = {asked.model: chips}
    _into_link("sites", [chip for chip in chips if FEATURE not in chip])
    _into_link("features", [chip for chip in chips if FEATURE in chip])
    return Asking(asked.model, tuple(chips), method, inputs, asked.prompt, count, match), pressed


def _into_link(name: str, chips: list[str]) -> None:
    """By commas, as other pages send them; the widget's own binding would repeat the parameter."""
    if chips:
        st.query_params[name] = ",".join(chips)
    else:
        st.query_params.pop(name, None)


def _effects(asking: Asking, pressed: bool) -> None:
    server, key = the_server(), ("ablate", asking.name)

    def pace(job: Job) -> float | None:
        with server.models.lend(asking.model) as model:
            return seconds_for(model, asking, server.workspace)

    if not (pressed or server.results.get(key)[0] or server.jobs.find(key) is not None):
        seconds = computed("timing a pass", ("ablate-seconds", asking.name), pace)
        if seconds is not None:
            st.info(f"This takes {about_seconds(seconds)}: {called(asking.model)} is not small. Press Ablate to begin.")
            end_page()

    if list(asking.chips) == st.session_state[EXAMPLE] and not pressed:
        st.caption("An example to begin with, run unasked because it takes seconds. Choose others and press Ablate.")

    def work(job: Job) -> Measured:
        with the_server().models.lend(asking.model) as model:
            return run_ablation(model, asking, the_server().workspace)

    measured = computed(f"ablating {', '.join(asking.chips)}", key, work)
    with st.columns([1, 2])[0]:
        metric = choice("Metric", [one.name for one in measured.study.metrics], "metric")
    shown = shown_of(measured, metric)
    for beside in shown:
        st.text(in_words(beside, metric, asking.method))
    figure = effect_figure(shown, metric)
    st.plotly_chart(figure, key="ablate-effects")
    st.caption(
        "Each bar is the mean over prompts of the metric with the components taken out less without; its whisker is "
        "the 95 % interval, each dot one prompt. Diamonds are random sets: as many other components of the same kind. "
        "A bar beyond the diamonds is more than losing that many components does."
    )
    for note in measured.notes:
        st.text(note)
    foot(
        asking.name,
        code=ablation_code(asking, measured),
        data=measured.effects[measured.effects["metric"] == metric],
        method=_method(asking, metric),
        figure=figure,
    )
    _save(asking, measured, metric)


def _method(asking: Asking, metric: str) -> str:
    kind = METRICS.find(metric)
    return (
        f"{metric}: {((kind and kind.__doc__) or '').strip().splitlines()[0]}\n"
        "Effect: the metric with the edit less without, prompt by prompt, and its mean over prompts.\n"
        "Interval: bootstrap over prompts, 95 %.\n"
        f"Put in their place: {METHODS[asking.method]}.\n"
        "A head is taken out where all that it adds to the residual stream passes; a feature by adding the difference "
        "that its absence makes to the autoencoder's reconstruction.\n"
        "p: (1 + random sets whose effect is at least as large, either way) / (1 + random sets).\n"
        "This is a study of workbench.studies, run on this model: the saved file gives the same numbers."
    )


def _save(asking: Asking, measured: Measured, metric: str) -> None:
    text = study_file(measured.study, metric)
    with st.container(horizontal=True):
        wanted = st.button("Save as a study file", help="Into the workspace")
        st.download_button("Download the study file", text, f"{asking.name}.yaml", "application/yaml")
    if wanted:
        try:
            file = the_server().workspace.inside(asking.file)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_inputs(asking, file.parent)
            write_atomically(file, text)
        except (WorkbenchError, OSError) as error:
            st.error(f"The study could not be saved: {error}")
        else:
            st.success(f"Saved as {asking.file}. Run it on the page Studies, or in the workspace with:")
            st.code(f"workbench study run {asking.file}", language="shell")
    if asking.inputs == OWN_TEXT:
        st.caption(f"The study reads your prompt from {asking.text_file} beside it; saving writes both.")


def _tokens(asking: Asking, prompt_id: str) -> None:
    st.subheader("On your prompt, token by token", anchor=False)
    if asking.method == "resample" or (asking.features and asking.method != "zero"):
        what = "zero or mean" if asking.method == "resample" else "zero"
        st.info(f"One text alone has nothing to put in their place: choose {what} to see its tokens.")
        return

    def work(job: Job) -> TokenLosses:
        with the_server().models.lend(asking.model) as model:
            return token_losses(model, asking, the_server().workspace)

    found = computed("reading the prompt twice", ("ablate-tokens", asking.name, prompt_id), work)
    token_strip(
        found.tokens,
        found.difference,
        key="ablate-strip",
        fingerprint=f"{asking.name}-{prompt_id}",
        signed=True,
        name="change of loss, nats",
        label="Change of loss, token by token",
    )
    st.caption(
        "Loss of each token with the components taken out less without, in nats: vermillion became harder to predict, "
        "blue easier. The first token has none."
    )
    foot(
        f"{asking.name}-tokens",
        code=token_losses_code(asking),
        data={"tokens": np.array(found.tokens), "before": found.before, "after": found.after},
        method="-log p(token | tokens before it), in nats, on the prompt of the sidebar; a mean is the component's own "
        "mean over the positions of this prompt.",
    )
