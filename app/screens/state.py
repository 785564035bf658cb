"""State: what a recurrent model keeps of the text, and what happens when that is changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from workbench.app.components import Axis, canvas_matrix, keep, kept, matrix, token_strip
from workbench.app.screens.state_editing import edit_panel
from workbench.app.serving import Job, the_server
from workbench.app.shell import Asked, begin, choice, computed, foot
from workbench.app.views.state import (
    MOST_ROWS,
    MOST_STEPS,
    Norms,
    Slice,
    half_lives,
    half_lives_code,
    half_lives_figure,
    half_lives_in_words,
    keeps_code,
    keeps_in_words,
    largest_heads,
    norms_figure,
    state_norms,
    state_norms_code,
    state_slice,
    state_slice_code,
)


def draw() -> None:
    """Draw the page."""
    asked = begin(
        "State",
        "What a recurrent model carries from token to token: how much, for how long, and what it does to what follows.",
        alone=True,
    )

    def work(job: Job) -> Norms:
        with the_server().models.lend(asked.model) as model:
            return state_norms(model, asked.prompt)

    norms = computed("reading the states", ("state-norms", asked.model, asked.prompt_id), work)
    if not norms.heads:
        _without(asked, norms)
        return
    _norms(asked, norms)
    _half_lives(asked, norms)
    with st.columns([1, 2])[0]:
        layer = choice("Layer", list(norms.heads), "layer")
    head, position = _map(asked, norms, layer)
    _slice(asked, norms, layer, head, position)
    edit_panel(asked, norms, layer, head, position)


def _without(asked: Asked, norms: Norms) -> None:
    """Of a Transformer: what it keeps instead."""
    st.info(keeps_in_words(norms))
    st.dataframe(norms.keeps, hide_index=True, width="stretch")
    st.caption("What each mixer remembers of a text, in bytes: so much a token, up to the window of its attention.")
    foot(
        "state-keeps",
        code=keeps_code(asked.model, asked.prompt),
        data=norms.keeps,
        method="A softmax keeps a key and a value a token and group of heads, in the dtype of the model. The bytes "
        "held in fact are those of the model's own cache after the prompt.",
    )
    st.text("Choose a recurrent model in the sidebar to see a state:")
    with st.container(horizontal=True):
        for source in ("zoo:mamba", "zoo:mamba2", "zoo:gated_delta", "zoo:rwkv7", "zoo:lstm"):
            st.link_button(source, f"?model={source}&prompt={asked.prompt_id}")


def _norms(asked: Asked, norms: Norms) -> None:
    st.subheader("How large it is", anchor=False)
    figure = norms_figure(norms)
    st.plotly_chart(figure, key="state-norms")
    of = f" Read after {len(norms.steps)} of {len(norms.tokens)} tokens." if len(norms.tokens) > MOST_STEPS else ""
    st.caption(
        "Norm of each layer's state after each token. Layers have scales of their own: look at how a line moves, not "
        f"at which is higher. A level line forgets as much as it writes.{of}"
    )
    foot(
        "state-norms",
        code=state_norms_code(asked.model, asked.prompt, *next(iter(norms.mixers.items()))),
        data={"steps": np.array(norms.steps), **{f"layer_{layer}": values for layer, values in norms.layers.items()}},
        method="Frobenius norm of the state [heads, key, value] of a layer after each token, over all its "
        f"{norms.unit}s. Where gates are exponential (RWKV-4, mLSTM) the state is kept divided by exp(m), and so is "
        "the norm.",
        figure=figure,
    )


def _half_lives(asked: Asked, norms: Norms) -> None:
    st.subheader("How long it is kept", anchor=False)

    def work(job: Job) -> pd.DataFrame:
        with the_server().models.lend(asked.model) as model:
            return half_lives(model, asked.prompt)

    table = computed("reading the gates", ("state-half-lives", asked.model, asked.prompt_id), work)
    st.text(half_lives_in_words(table, norms.unit))
    figure = half_lives_figure(table)
    if figure.data[0].y is not None and len(figure.data[0].y):
        st.plotly_chart(figure, key="state-half-lives")
        st.caption(
            f"A dot is a {norms.unit}: after how many tokens half of what it wrote is left, by its gates alone. The "
            "scale is logarithmic."
        )
    foot(
        "state-half-lives",
        code=half_lives_code(asked.model, asked.prompt, list(norms.heads)),
        data=table,
        method="ln 2 / mean(-log decay) over the tokens of the prompt, the median over the key "
        f"dimensions of a {norms.unit}; in tokens. What a delta rule erases or overwrites fades sooner.",
        figure=figure,
    )


def _map(asked: Asked, norms: Norms, layer: int) -> tuple[int, int]:
    """The picture of a layer's heads over the text; the head and token that are looked at."""
    values, unit = norms.heads[layer], norms.units[layer]
    # The link holds the head's own number, whichever heads there is room for.
    head, step = kept("cell", values.shape) or (int(values[:, -1].argmax()), len(norms.steps) - 1)
    rows = largest_heads(values, head)
    st.subheader(f"Layer {layer}, {unit} by {unit}", anchor=False)
    drawn = canvas_matrix(
        values[rows],
        rows=Axis.of(unit, rows),
        columns=Axis.of_tokens("after token", [norms.tokens[at] for at in norms.steps]),
        signed=False,
        upward=True,
        cell=max(6, min(24, 480 // len(rows))),
        selected=(rows.index(head), step),
        name=f"norm of the {unit}'s state",
    )
    clicked = matrix(drawn, key="state-map", fingerprint=f"{asked.model}-{asked.prompt_id}-{layer}-{rows}")
    if clicked is not None and (chosen := (rows[clicked[0]], clicked[1])) != (head, step):
        keep("cell", chosen)
        st.rerun()
    said = f"Norm of each {unit}'s state after each token. Click a cell to see that state, and to edit it below."
    if len(rows) < len(values):
        said += f" The {len(rows)} of {len(values):,} with the largest states are shown; Data has all."
    st.caption(said)
    foot(
        f"state-L{layer}-heads",
        code=state_norms_code(asked.model, asked.prompt, layer, norms.mixers[layer]),
        data={"norms": values, "steps": np.array(norms.steps)},
        method=f"Frobenius norm of a {unit}'s state [key, value] after each token.",
    )
    if len(rows) < len(values):
        with st.columns([1, 2])[0]:
            wanted = st.number_input(f"Go to {unit}", 0, len(values) - 1, head, 1, key=f"head-of-{layer}-{head}")
        if int(wanted) != head:
            keep("cell", (int(wanted), step))
            st.rerun()
    return head, norms.steps[step]


def _slice(asked: Asked, norms: Norms, layer: int, head: int, position: int) -> None:
    st.subheader(f"The state after token {position}", anchor=False)

    def work(job: Job) -> Slice:
        with the_server().models.lend(asked.model) as model:
            return state_slice(model, asked.prompt, layer, head, position)

    key = ("state-slice", asked.model, asked.prompt_id, layer, head, position)
    found = computed("reading a state", key, work)
    whole = found.rows == "channel"
    rows = largest_heads(norms.heads[layer], head) if whole else list(range(len(found.values)))
    clicked = token_strip(
        norms.tokens, key="state-where", fingerprint=f"{key}", selected=position, label="Where in the text"
    )
    if clicked is not None and clicked != position:
        nearest = min(range(len(norms.steps)), key=lambda step: abs(norms.steps[step] - clicked))
        keep("cell", (head, nearest))
        st.rerun()
    drawn = canvas_matrix(
        found.values[rows],
        rows=Axis.of(found.rows, rows),
        columns=Axis.of(found.columns, range(found.values.shape[1])),
        signed=True,
        upward=True,
        cell=max(5 if whole else 2, min(12, 480 // len(rows))),
        selected=(rows.index(head), None) if whole else None,
        name="state",
    )
    matrix(drawn, key="state-slice", fingerprint=f"{key}")
    shown = "All channels" if len(rows) == len(found.values) else f"The {MOST_ROWS} channels with the largest states"
    said = f"{shown} of layer {layer}; the marked row is channel {head}." if whole else f"Head {head}, layer {layer}."
    st.caption(f"{said} Vermillion is positive, blue negative.")
    foot(
        f"state-L{layer}H{head}-{position}",
        code=state_slice_code(asked.model, asked.prompt, layer, head, position, norms.mixers[layer]),
        data={"values": found.values},
        method="The recurrent state right after the token, in the canonical layout [heads, key, value]; channels whose "
        "state is a vector are shown side by side.",
    )
