"""The layer of the head that is shown, as a whole: all its matrices as one, and those that come first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from workbench.app.components import causal_matrix, matrix, thumbnails
from workbench.app.screens.attention_borrowing import borrowed
from workbench.app.screens.attention_chosen import Panel
from workbench.app.serving import Job
from workbench.app.shell import about_seconds, choice, computed, foot, put
from workbench.app.views.attention import HeadStatistics
from workbench.app.views.attention.layer import (
    REDUCTIONS,
    THUMBNAILS,
    LayerView,
    Thumbnails,
    layer_code,
    layer_view,
    seconds_of,
)
from workbench.app.views.attention.layer import thumbnails as small_matrices
from workbench.app.views.attention.statistics import MEASURES

SOON = 2.0
"""Seconds from which on the section says how long it will take."""

METHOD = (
    "mean of |A|: over all matrices of the layer, sizes of entries. mean norm written: of |A[t, s]| times the norm of "
    "what the source's value writes into the stream through the output matrix. mean, signs kept: entries of different "
    "signs cancel. Exact; matrices are added up a few rows and heads at a time."
)


def draw_layer(panel: Panel, tokens: tuple[str, ...], found: HeadStatistics, measure: str) -> None:
    """Draw it, once it is asked for: what nobody sees would be drawn again at each change of the head."""
    unit = f"{panel.place.unit}s"
    of = "" if panel.asked.other is None else f" of {panel.letter} · {panel.source}"
    seconds = seconds_of(len(tokens), panel.place.heads)
    takes = f" ({about_seconds(seconds)})" if seconds > SOON else ""
    title = (
        f"Layer {panel.choice.place} as a whole{of}: its {panel.place.heads} {unit} as one, and those that come first"
    )
    box = st.expander(f"{title}{takes}", key=f"whole{panel.suffix}", on_change="rerun", bind="query-params")
    if box.open:
        with box:
            _draw(panel, tokens, found, measure, unit)


def _draw(panel: Panel, tokens: tuple[str, ...], found: HeadStatistics, measure: str, unit: str) -> None:
    panel = replace(panel, choice=replace(panel.choice, scope="core", measure="weights"))
    over = choice("All as one", tuple(REDUCTIONS), f"over{panel.suffix}", show=lambda name: REDUCTIONS[name])
    values = found.averages[measure][found.places.index(panel.choice.place)]
    first = tuple(int(head) for head in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:THUMBNAILS])
    head = replace(panel.choice, head=0)  # whichever it is, the layer is the same

    def average(job: Job) -> LayerView:
        with borrowed(panel.source, panel.asked, head) as (model, reading):
            return layer_view(model, reading, head, over)

    def few(job: Job) -> Thumbnails:
        with borrowed(panel.source, panel.asked, head) as (_, reading):
            return small_matrices(reading, first)

    key = ("attention", "layer", panel.source, panel.asked.prompt_id, head)
    whole = computed(f"averaging layer {panel.choice.place}", (*key, over), average)
    small = computed(f"reading the first {unit}", (*key, first), few)

    def chose(at: int) -> None:
        put(f"layer{panel.suffix}", panel.choice.place)
        put(f"head{panel.suffix}", first[at])
        put("scope", "core")

    one, many = st.columns(2, gap="large")
    with one:
        _draw_average(panel, tokens, whole, REDUCTIONS[over], unit)
    with many:
        st.text(f"The {len(first)} {unit} that come first by {MEASURES[measure]}")
        thumbnails(
            small.pixels,
            [f"L{panel.choice.place}H{number}" for number in first],
            [f"{values[number]:.3g}" for number in first],
            key=f"thumbnails{panel.suffix}",
            fingerprint=f"{panel.source} {panel.asked.prompt_id} {panel.choice.place} {first}",
            signed=small.signed,
            label=f"The first {unit} of the layer",
            chosen=first.index(panel.choice.head) if panel.choice.head in first else None,
            on_choose=chose,
        )
        pooled = (
            "" if small.factor == 1 else f" A pixel is the largest entry of {small.factor} × {small.factor} tokens."
        )
        st.caption(f"Each has a colour scale of its own; click one to look at it above.{pooled}")
    foot(
        f"attention-layer-{panel.letter}-{panel.choice.place}",
        code=layer_code(panel.source, panel.asked.prompt, head, over, first),
        data={"average": whole.pixels, "heads": np.asarray(first), "matrices": small.pixels},
        method=METHOD,
    )


def _draw_average(panel: Panel, tokens: tuple[str, ...], whole: LayerView, name: str, unit: str) -> None:
    st.text(f"All {whole.units} {unit} as one: {name}")
    drawn = causal_matrix(
        whole.pixels,
        tokens,
        name=name,
        signed=whole.signed,
        factor=whole.factor,
        resting="Point at a cell to read it out.",
    )
    matrix(
        drawn,
        key=f"average{panel.suffix}",
        fingerprint=f"{panel.source} {panel.asked.prompt_id} {panel.choice.place} {name}",
    )
