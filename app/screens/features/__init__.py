"""Features: what a sparse autoencoder has found, feature by feature; named, tried on a text, steered by."""

from __future__ import annotations

import streamlit as st

from workbench.app.screens.features.building import build_panel
from workbench.app.screens.features.feature import heading
from workbench.app.screens.features.listing import feature_list
from workbench.app.screens.features.opening import any_store, chosen_store
from workbench.app.screens.features.panels import examples_panel, neighbours_panel
from workbench.app.screens.features.steering import steering_panel
from workbench.app.screens.features.trying import trying_panel
from workbench.app.shell import begin
from workbench.app.views.features.examples import style

PANELS = {
    "Examples": examples_panel,
    "Try a text": trying_panel,
    "Neighbours": neighbours_panel,
    "Steer": steering_panel,
}


def draw() -> None:
    """Draw the page."""
    asked = begin(
        "Features",
        "Each feature is a direction that a sparse autoencoder found. Look at what it fires on, name it, and turn it "
        "up to see what it does.",
    )
    st.html(f"<style>{style()}</style>")
    if not any_store():
        build_panel(asked.model)
        return
    left, right = st.columns([1, 2.2], gap="medium")
    with left:
        opened = chosen_store(asked.model)
        order = None if opened is None else feature_list(opened)
    if opened is None or order is None:
        with right:
            build_panel(asked.model)
        return
    with right:
        facts = heading(opened, order)
        tables = opened.tables(facts.feature, order.near(facts.feature))
        panel = st.segmented_control(
            "Panel",
            list(PANELS),
            default="Examples",
            required=True,
            key="panel",
            label_visibility="collapsed",
            bind="query-params",
        )
        PANELS[str(panel)](opened, facts, tables)
