"""What the chosen entry of the matrix does."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from workbench.app.components.rows import rows
from workbench.app.screens.attention_borrowing import borrowed, stream_of
from workbench.app.screens.attention_chosen import Panel
from workbench.app.serving import Job
from workbench.app.shell import computed, foot
from workbench.app.views.attention import ValuePath, path_code, value_path
from workbench.figures.tokens import visible_token

METHOD = (
    "The source's value times the entry (times gate and norm scale, where the mixer has them) times the head's rows of "
    "the output matrix is what one source writes into the residual stream at the destination. That vector, divided by "
    "the scale of the final norm at the destination and multiplied with the unembedding, is what it puts into every "
    "logit along the direct path; later layers may also read it, which is not counted. Less the mean over the "
    "vocabulary, since what raises all logits alike changes no probability. Unit: logits (nats)."
)


def draw_path(panel: Panel, tokens: Sequence[str], cell: tuple[int, int]) -> None:
    """Draw it."""

    def work(job: Job) -> ValuePath:
        with borrowed(source, asked, choice) as (model, reading):
            return value_path(model, reading, stream_of(model, source, asked), choice, *cell)

    source, asked, choice, letter = panel.source, panel.asked, panel.choice, panel.letter
    row, column = cell
    found = computed("following the value", panel.key("path", cell), work)
    st.text(
        f"{row} “{visible_token(tokens[row])}” reads {column} “{visible_token(tokens[column])}”: weight "
        f"{found.weight:.4g}, {found.share:.1%} of its row. It writes a vector of norm {found.norm:.3g} into the "
        f"stream, whose norm before the unembedding is {found.stream:.3g}."
    )
    boxes = st.columns(2)
    for box, title, ends in zip(boxes, ("raises", "lowers"), (found.up, found.down), strict=True):
        with box:
            rows(
                [(at, [visible_token(token), f"{effect:+.3g}"]) for at, (token, effect) in enumerate(ends)],
                [f"{title} the logit of", "by"],
                key=f"path-{title}-{letter}",
                fingerprint=f"{panel.fingerprint} {cell}",
                chose=lambda at: None,
                label=f"Tokens whose logits it {title} most",
            )
    st.caption("Direct effect on the logits at the token that reads, in nats, less the mean over the vocabulary.")
    foot(
        f"value-path-{letter}-{choice.name}-{row}-{column}",
        code=path_code(source, asked.prompt, choice, row, column),
        data=pd.DataFrame([*found.up, *reversed(found.down)], columns=["token", "logit"]),
        method=METHOD,
    )
