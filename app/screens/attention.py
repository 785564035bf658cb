"""Attention: who reads whom."""

from __future__ import annotations

import streamlit as st

from workbench.app.screens.attention_chosen import Panel
from workbench.app.screens.attention_layer import draw_layer
from workbench.app.screens.attention_panel import draw_panel
from workbench.app.screens.attention_statistics import draw_statistics
from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import Asked, begin, choice, computed, number
from workbench.app.shell.parts import part
from workbench.app.shell.prompts import PROMPT
from workbench.app.views.attention import HeadChoice, Outline, best_head, outline, same_depth
from workbench.app.views.attention.choosing import Measure, Scope

MEASURES: dict[str, Measure] = {"weights": "weights", "share of row": "share", "value-weighted": "written"}

SCOPES: dict[str, Scope] = {"core": "core", "whole mixer": "mixer"}

SAME_DEPTH = "as A"
"""What model B's layer is called that lies at the same relative depth as model A's."""


def draw() -> None:
    """Draw the page."""
    asked = begin(
        "Attention",
        "Who reads whom. Each row of the matrix is a token that reads; its strong columns are what it reads from.",
    )
    _show(asked)


@part
def _show(asked: Asked) -> None:
    outlines = [_outline(source) for source in asked.models]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = choice(
            "What a cell shows",
            tuple(MEASURES),
            "measure",
            default="weights" if asked.other is None else "share of row",
            help="A cell of the matrix says how a token (its row) reads an earlier one (its column). weights: how much "
            "of that one's value arrives. share of row: the size of the weight as a share of its row, signs removed, "
            "which compares models. value-weighted: the norm of what the cell writes into the residual stream, weight "
            "times value through the output matrix.",
        )
        scope = choice(
            "Which part",
            tuple(SCOPES),
            "scope",
            help="core: the softmax or the recurrence alone, a matrix a head. whole mixer: with convolution, gate, "
            "norm and skip, which has a matrix a channel.",
        )
    shown: list[tuple[Panel, tuple[str, ...]]] = []
    boxes = st.columns(len(outlines), gap="large")
    at = best_head(outlines[0])[0]
    for letter, source, found, box in zip("AB", asked.models, outlines, boxes, strict=False):
        with box:
            if asked.other is not None:
                st.subheader(f"{letter} · {called(source)}", anchor=False)
            suffix = "" if letter == "A" else "-b"
            with st.container(horizontal=True, vertical_alignment="bottom"):
                at = _place(outlines[0], at, found, suffix)
                head = _head(found, at, SCOPES[scope], suffix)
            place = found.places[at]
            chosen = HeadChoice(place.layer, place.mixer, head, SCOPES[scope], MEASURES[measure])
            panel = Panel(asked, letter, source, place, chosen)
            shown.append((panel, draw_panel(panel)))
    for (panel, tokens), found in zip(shown, outlines, strict=True):
        drawn = draw_statistics(panel, found, len(tokens))
        if drawn is not None:
            draw_layer(panel, tokens, *drawn)


def _outline(source: str) -> Outline:
    def work(job: Job) -> Outline:
        with the_server().models.lend(source) as model:
            return outline(model, PROMPT)

    return computed(f"looking at the heads of {called(source)}", ("attention-outline", source), work)


def _place(first: Outline, at: int, found: Outline, suffix: str) -> int:
    """The mixer that is shown, as an index; `at` is that of model A, or where its page begins."""
    names = [place.name for place in found.places]
    if not suffix:
        return names.index(choice("Layer", names, "layer", default=names[at]))
    depth = same_depth(first, at, found)
    said = choice("Layer", (SAME_DEPTH, *names), "layer-b")
    return depth if said == SAME_DEPTH else names.index(said)


def _head(found: Outline, at: int, scope: Scope, suffix: str) -> int:
    place = found.places[at]
    best = int(place.scores.argmax())
    if scope == "core" or place.channels == place.heads:
        return number(
            place.unit.capitalize(),
            0,
            place.heads - 1,
            f"head{suffix}",
            default=best,
            help="Begins with the one that reads the token before most, in rows that are about as large as each other, "
            "so that there is something to see. It is chosen on the text that the page opens on.",
        )
    each = place.channels // place.heads
    return number("Channel", 0, place.channels - 1, f"channel{suffix}", default=best * each, help=f"{each} a head.")
