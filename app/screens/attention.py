"""Attention: who reads whom."""

from __future__ import annotations

import plotly.express as px
import streamlit as st

from workbench.app.serving import Job, the_server
from workbench.app.shell import begin, computed, foot, number
from workbench.app.views.attention import HeadMatrix, head_matrix, head_matrix_code


def draw() -> None:
    """Draw the page."""
    asked = begin("Attention", "Each row is a token; its bright columns are the tokens it reads.")
    layer = number("Layer", 0, 3, "layer")
    head = number("Head", 0, 3, "head")

    def work(job: Job) -> HeadMatrix:
        with the_server().models.lend(asked.model) as model:
            return head_matrix(model, asked.prompt, layer, head)

    found = computed("reading the head", ("attention", asked.model, asked.prompt_id, layer, head), work)
    figure = px.imshow(found.values)
    st.plotly_chart(figure)
    foot(
        f"attention-L{layer}H{head}",
        code=head_matrix_code(asked.model, asked.prompt, layer, head),
        data={"values": found.values},
        method="A[t, s]: how much of token s's value token t reads.",
        figure=figure,
    )
