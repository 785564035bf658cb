"""Heads: which heads or channels are of a kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float

from workbench.app.components import Axis, canvas_matrix, matrix
from workbench.app.screens.head_check import draw_check
from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import Asked, about_seconds, begin, choice, computed, end_page, foot, plain, text, view_link
from workbench.app.views.head_figures import above_by_depth, against_null, by_layer, head_grid
from workbench.app.views.head_scripts import against_null_code, scores_code
from workbench.app.views.heads import (
    RANKS,
    Scores,
    about,
    comparison,
    layers_of,
    row_of,
    score_heads,
    seconds_for,
)
from workbench.errors import InputError
from workbench.probes import kinds
from workbench.probes.heads.figures import heads_map
from workbench.probes.heads.table import meaning

LISTED = 50
"""Rows of the table where a model has more than `ALL` heads or channels."""

ALL = 200

HAYSTACKS = ("segment", "needle", "passkey")

RANKED = {"excess": "excess over null", "score": "score"}

SITE = "Layer and head or channel, as sites are written: L1H2."

COLUMNS = {
    "site": st.column_config.TextColumn("head"),
    "score": st.column_config.NumberColumn("score", format="%.3f"),
    "low": st.column_config.NumberColumn("95 % from", format="%.3f", help="Bootstrap over sequences."),
    "high": st.column_config.NumberColumn("to", format="%.3f"),
    "null": st.column_config.NumberColumn(
        "null, 95 %", format="%.3f", help="What the head reaches at rival places, at the 95th percentile."
    ),
    "excess": st.column_config.NumberColumn("excess", format="%.3f", help="Score less null."),
    "p": st.column_config.NumberColumn("p", format="%.3f", help="Rank of the score among the rivals, at least 1/21."),
    "percentile": st.column_config.NumberColumn(
        "percentile", format="%.1f", help="Share of this model's heads that rank lower, in percent."
    ),
}


def draw() -> None:
    """Draw the page."""
    asked = begin("Heads", "Which heads do a known job: a score for every head, beside what chance would give it.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = choice("Kind of head", kinds(), "kind", default="induction", show=_called)
        by = choice(
            "Rank by",
            RANKS,
            "rank",
            show=RANKED.__getitem__,
            help="score: how much of a row lies on the token that such a head is to read. null: what the same head "
            "puts on rival tokens, at the 95th percentile, which chance gives. excess over null: the score less that.",
        )
        haystack = "segment"
        if kind == "retrieval":
            haystack = choice(
                "Hidden",
                HAYSTACKS,
                "haystack",
                help="A segment of random tokens works with any model; a needle (a sentence) and a passkey (a number) "
                "are for models that can read.",
            )
        said = text("Layers", "layers", placeholder="all", help="As in: 0-3, 8. Fewer of them take less time.")
    st.text(about(kind))
    try:
        layers = layers_of(said)
    except InputError as error:
        st.error(plain(str(error)))
        return
    several = [_scores(source, kind, haystack, layers) for source in asked.models]
    st.caption(" ".join(map(_found, several)))
    for scores in several:
        for note in scores.notes:
            st.warning(note)
    for letter, scores, column in zip("AB", several, st.columns(len(several)), strict=False):
        with column:
            _map(letter if len(several) > 1 else "", scores, by, haystack)
    _one_head(asked, several, by)
    _table(several, by, haystack)
    _distribution(several, haystack)
    draw_check(asked, several, by, haystack)


def _called(kind: str) -> str:
    return kind.replace("_", " ")


def _scores(source: str, kind: str, haystack: str, layers: tuple[int, ...] | None) -> Scores:
    """The scores of one model, at once where that is quick, else when somebody asks for them."""
    server = the_server()
    key = ("heads", source, kind, haystack, layers)

    def work(job: Job) -> Scores:
        with server.models.lend(source) as model:
            return score_heads(model, source, kind, haystack, layers)

    def pace(job: Job) -> float | None:
        with server.models.lend(source) as model:
            return seconds_for(model, kind, layers)

    known = server.results.get(key)[0] or server.jobs.find(key) is not None
    if not known:
        seconds = computed(f"timing {called(source)}", ("heads-seconds", source, kind, layers), pace)
        if seconds is not None:
            st.info(
                f"{_called(kind).capitalize()} heads of {called(source)} have not been looked for yet. "
                "Fewer layers take less time."
            )
            if not st.button(f"Run finder, {about_seconds(seconds)}", type="primary", key=f"run-{source}-{kind}"):
                end_page()
    return computed(f"looking for {_called(kind)} heads in {called(source)}", key, work)


def _found(scores: Scores) -> str:
    table = scores.table
    return (
        f"{called(scores.model)}: {scores.above} of {len(table)} {scores.unit}s ({scores.above / len(table):.0%}) lie "
        f"above their null, which is what the same {scores.unit} gets at rival places, with their whole interval; by "
        "chance about 5 % would at most."
    )


def _map(letter: str, scores: Scores, by: str, haystack: str) -> None:
    grid = head_grid(scores, by)
    st.subheader(f"{letter} · {called(scores.model)}" if letter else f"Every {scores.unit}", anchor=False)
    chosen = grid.place(_site(scores, by))
    columns = [at + grid.by_rank for at in range(grid.values.shape[1])]
    place = f"{scores.unit}s, best first in each layer" if grid.by_rank else scores.unit
    drawn = canvas_matrix(
        grid.values.astype("float32"),
        rows=Axis.of("layer", grid.rows),
        columns=Axis.of(f"{scores.unit}, by rank" if grid.by_rank else scores.unit, columns),
        cells=grid.names,
        masked=np.array(grid.sites) == "",
        texts=None if grid.by_rank else _numbers(grid.values, grid.above),
        upward=True,
        cell=34,
        limit=None if grid.by_rank else float(np.nanmax(np.abs(grid.values))) or 1.0,
        selected=chosen,
        name=f"{_called(scores.kind)} {RANKED[by]}",
        masked_as=f"no such {scores.unit}",
        resting=f"Click a cell to look at that {scores.unit}, or go there with the arrow keys and press Enter.",
    )
    clicked = matrix(
        drawn, key=f"map-{letter}", fingerprint=f"{scores.model} {scores.kind} {haystack} {by} {scores.looked}"
    )
    if clicked is not None and (site := grid.sites[clicked[0]][clicked[1]]) and site != st.session_state.get("site"):
        st.session_state["site"] = site
        st.rerun()
    marks = (
        f"Each row is a layer, {place}, so the length of the bright part says how many do it."
        if grid.by_rank
        else "Each row is a layer, the first at the bottom. ● marks heads above their null with their whole interval."
    )
    st.caption(f"{marks} {meaning(scores.table)}")
    foot(
        f"heads-{scores.kind}{letter and '-' + letter}",
        code=scores_code(scores, by, haystack),
        data=scores.ranked(by),
        method=_method(scores),
        figure=heads_map(scores.table, by=by, unit=scores.unit),
    )


def _numbers(values: Float[np.ndarray, "rows columns"], above: list[list[bool]]) -> list[list[str]]:
    """What stands in the cells; -0.00 would look like a measured sign."""
    return [
        [
            "" if np.isnan(value) else f"{value:z.2f}{'●' if mark else ''}"
            for value, mark in zip(row, marks, strict=True)
        ]
        for row, marks in zip(values, above, strict=True)
    ]


def _method(scores: Scores) -> str:
    return (
        f"{about(scores.kind)}\n\n{meaning(scores.table)} It is averaged over destinations and sequences; its 95 % "
        "interval is a bootstrap over sequences. The null of a head is the 95th percentile of what the same head gets "
        "at rival places; excess is score less null. "
        "The texts are those of the finder (random tokens for most kinds), not the prompt. find_heads says more."
    )


def _site(scores: Scores, by: str) -> str:
    """The head that is looked at: the link's, else the best."""
    said = str(st.session_state.get("site") or st.query_params.get("site") or "")
    return said or str(scores.ranked(by)["site"].iloc[0])


def _one_head(asked: Asked, several: Sequence[Scores], by: str) -> None:
    scores = several[0]
    st.subheader(f"One {scores.unit}", anchor=False)
    wanted = text(
        f"Go to {scores.unit}",
        "site",
        placeholder=_site(scores, by),
        help="As sites are written: L1H2. The best one is shown where nothing is said.",
    )
    for one in several:
        try:
            row = row_of(one, wanted or _site(one, by), by)
        except InputError as error:
            st.error(plain(str(error)))
            continue
        st.text(
            f"{called(one.model)} {row['site']}: score {row['score']:.3f} ({row['low']:.3f} to {row['high']:.3f}), "
            f"null {row['null']:.3f}, excess {row['excess']:.3f}, rank {row['rank']} of {len(one.table)}."
        )
        layer = f"{row['layer']}.mixer{row['mixer']}" if row["mixer"] else str(row["layer"])
        view_link(
            "attention",
            f"Open {row['site']} in Attention",
            model=one.model,
            prompt=asked.prompt_id,
            layer=layer,
            head=str(row["head"]),
        )


def _table(several: Sequence[Scores], by: str, haystack: str) -> None:
    for letter, scores in zip("AB", several, strict=False):
        ranked = scores.ranked(by)
        shown = ranked if len(ranked) <= ALL else ranked.head(LISTED)
        st.subheader(f"Table: {called(scores.model)}" if len(several) > 1 else "Table", anchor=False)
        st.dataframe(
            shown[list(COLUMNS)],
            hide_index=True,
            column_config={**COLUMNS, "site": st.column_config.TextColumn(scores.unit, help=SITE)},
            height=min(420, 36 * (len(shown) + 1)),
            key=f"table-{letter}",
        )
        cut = f"The best {LISTED} of {len(ranked):,}; Data under the map has all. " if len(shown) < len(ranked) else ""
        st.caption(cut + "Click a column's name to sort by it.")


def _rounded_columns(compared: pd.DataFrame) -> dict[str, Any]:
    numbers = [column for column in compared.columns if compared[column].dtype == float]
    return {column: st.column_config.NumberColumn(column, format="%.3f") for column in numbers}


def _distribution(several: Sequence[Scores], haystack: str) -> None:
    st.subheader("Scores beside what chance gives", anchor=False)
    figure = against_null(several)
    st.plotly_chart(figure, key="against-null")
    st.caption(
        f"At each score, how many {several[0].unit}s reach it, in percent, and how many would by their null alone. "
        "Where the coloured line runs to the right of the grey one, chance does not explain the scores."
    )
    if len(several) > 1:
        compared = comparison(list(several))
        st.dataframe(compared, hide_index=True, column_config=_rounded_columns(compared), key="compared")
        st.caption(
            "The best of many is higher than the best of few by chance, so compare the shares above null, or the last "
            "column: the best excess of as many heads as the smaller model has, on average over all draws of so many."
        )
        st.plotly_chart(above_by_depth(several), key="by-depth")
        st.caption("Layers of models of different depth stand at the same relative depth.")
    for letter, scores in zip("AB", several, strict=False):
        layers = by_layer(scores)
        st.plotly_chart(layers, key=f"layers-{letter}")
        st.caption(
            f"{called(scores.model)}: lowest, quartiles and highest score of each layer; grey, the middle of the nulls."
        )
    foot(
        f"heads-null-{several[0].kind}",
        code=against_null_code(several, haystack),
        data=comparison(list(several)),
        method="Above null: the whole 95 % interval lies above the null. Best of N: the largest excess among N heads "
        "drawn without replacement, on average over all such draws (exact). A best head by itself is not compared.",
        figure=figure,
    )
