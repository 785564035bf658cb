"""All heads of a model beside each other: how spread, how far, how much they read."""

from __future__ import annotations

import streamlit as st

from workbench.app.components import Axis, canvas_matrix, matrix
from workbench.app.screens.attention_chosen import Panel
from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import about_seconds, choice, computed, foot, put, switch
from workbench.app.views.attention import HeadStatistics, Outline, head_statistics, statistics_code
from workbench.app.views.attention.statistics import MEASURES, WIDEST

SAYS = {
    "entropy": "Low: the head reads few tokens; high: many alike. In nats, over the shares |A| / mass of a row.",
    "mean_distance_by_mass": "How many tokens back the head reads on average, each source weighted by |A|.",
    "mass": "The sum of |A| over a row: 1 for softmax (less where the model has learned a sink, which takes a part of "
    "the row and is no token), any size for implicit mixing.",
}


PER_SECOND = 100e6
"""Entries that are streamed in a second, roughly: what an estimate is made of."""

SOON = 5.0
"""Seconds from which on the heads are read only when that is asked for: meanwhile the model reads nothing else."""


def draw_statistics(panel: Panel, model: Outline, tokens: int) -> tuple[HeadStatistics, str] | None:
    """Draw the map of layers and heads of one model; a click shows the head above.

    Args:
        model: its mixers.
        tokens: of the text.

    Returns:
        What is drawn and the measure; None where it would take long and nobody has asked for it yet.
    """
    letter, source, asked, shown, unit = panel.letter, panel.source, panel.asked, panel.choice, model.unit

    def work(job: Job) -> HeadStatistics:
        with the_server().models.lend(source) as model:
            return head_statistics(model, asked.prompt)

    suffix = panel.suffix
    st.subheader(f"All {unit}s" if asked.other is None else f"All {unit}s of {letter} · {called(source)}", anchor=False)
    seconds = tokens * tokens / 2 * model.heads / PER_SECOND
    if seconds > SOON and not switch(f"Read all {model.heads} of them: {about_seconds(seconds)}", f"all{suffix}"):
        return None
    measure = choice("Statistic", tuple(MEASURES), f"statistic{suffix}", show=lambda name: MEASURES[name])
    key = ("attention", "statistics", source, asked.prompt_id)
    found = computed(f"reading all {unit}s of {called(source)}", key, work)
    values, heads = found.map(measure)
    ranked = found.ranked

    def chose(at: tuple[int, ...]) -> None:
        head = int(heads[at[0], at[1]])
        if head >= 0:
            put(f"layer{suffix}", found.places[at[0]])
            put(f"head{suffix}", head)
            put("scope", "core")

    drawn = canvas_matrix(
        values,
        rows=Axis.of("layer", found.places),
        columns=Axis.of(f"{unit}, by rank" if ranked else unit, [at + ranked for at in range(values.shape[1])]),
        cells=[
            ["" if head < 0 else f"L{place}H{head}" for head in row]
            for place, row in zip(found.places, heads.tolist(), strict=True)
        ],
        masked=heads < 0,
        upward=True,
        cell=28,
        selected=found.cell(measure, shown) if shown.scope == "core" else None,
        name=MEASURES[measure],
        notes=[f"{unit.capitalize()}s by rank, highest first; at most {WIDEST} a layer."] if ranked else [],
        masked_as=f"no such {unit}",
        resting=f"Click a {unit} to look at it above.",
    )
    matrix(drawn, key=f"statistics{suffix}", fingerprint=f"{source} {asked.prompt_id} {measure}", on_choose=chose)
    st.caption(SAYS[measure] + " Averages over the tokens of the prompt.")
    foot(
        f"attention-statistics-{letter}",
        code=statistics_code(source, asked.prompt, measure),
        data=found.table,
        method=SAYS[measure],
    )
    return found, measure
