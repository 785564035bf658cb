"""One head of one model on the Attention page, from the token that is chosen to the strongest links."""

from __future__ import annotations

import streamlit as st

from workbench.app.components import curve, keep
from workbench.app.components.rows import rows
from workbench.app.screens.attention_borrowing import borrowed
from workbench.app.screens.attention_chosen import SAID, Panel
from workbench.app.screens.attention_map import draw_map
from workbench.app.screens.attention_path import draw_path
from workbench.app.screens.attention_token import choose_token, chosen_token, draw_strips
from workbench.app.serving import Job
from workbench.app.shell import computed
from workbench.app.views.attention import HeadChoice, HeadView, Place, head_view
from workbench.figures.tokens import visible_token


def draw_panel(panel: Panel) -> tuple[str, ...]:
    """Draw one model's part of the page; the tokens of the text."""

    def work(job: Job) -> HeadView:
        with borrowed(panel.source, panel.asked, panel.choice) as (model, reading):
            return head_view(model, reading, panel.choice)

    found = computed(f"reading {panel.choice.name} of {panel.source}", panel.key("head"), work)
    st.caption(f"{panel.choice.name}, {_kind(panel.place, panel.choice)}")
    token = chosen_token(panel, found)
    strongest = draw_strips(panel, found, token)
    cell = draw_map(panel, found, token)
    draw_path(panel, found.tokens, cell or (token, strongest))
    _distances(panel, found)
    _links(panel, found)
    return found.tokens


def _kind(place: Place, choice: HeadChoice) -> str:
    if place.softmax:
        return (
            "softmax attention: a row of weights adds up to 1, or to less where the model has learned a sink, a place "
            "beside the tokens that takes a part of the row."
        )
    given = ", exact given the gates, which the past has set" if place.given_gates else ""
    sign = "an entry may be negative" if choice.measure == "weights" else "the signs are removed here"
    return f"{place.family}: implicit mixing, signed ({sign}){given}. Rows do not add up to 1."


def _distances(panel: Panel, found: HeadView) -> None:
    said = SAID[panel.choice.measure]
    st.text("By distance")
    curve(
        found.profile,
        key=f"distance{panel.suffix}",
        fingerprint=panel.fingerprint,
        title=f"mean {said}",
        across="distance (tokens back)",
        name=f"mean {said}",
        unit="back",
    )
    st.caption(f"The mean {said} of all pairs of tokens that are so far apart; far ones are averages of few pairs.")


def _links(panel: Panel, found: HeadView) -> None:
    def chose(number: int) -> None:
        link = found.links[number]
        choose_token(panel, found, link.row)
        keep(f"cell{panel.suffix}", (link.row, link.column))

    title = f"Strongest links between different tokens ({len(found.links)})"
    box = st.expander(title, key=f"links-shown{panel.suffix}", on_change="rerun")
    if not box.open:  # a list that nobody sees takes as long to draw as one that is seen
        return
    with box:
        rows(
            [
                (
                    at,
                    [
                        str(link.row),
                        visible_token(found.tokens[link.row]),
                        f"{link.column} {visible_token(found.tokens[link.column])}",
                        f"{link.value:.3g}",
                    ],
                )
                for at, link in enumerate(found.links)
            ],
            ["token", "reads", "from", SAID[panel.choice.measure]],
            key=f"links{panel.suffix}",
            fingerprint=panel.fingerprint,
            chose=chose,
            label="Strongest links",
        )
