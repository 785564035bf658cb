"""The part of a page about one entry of edits: maps, the ranked table, controls, doses, pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.report import Block, Heading, Paragraph, Plot, Table
from workbench.studies.report.curves import controls_plot, curves, interaction_plot
from workbench.studies.report.grids import describe, grid_of
from workbench.studies.report.heat_maps import effect_map, pair_map
from workbench.studies.report.numbers import NONE, number, percent, probability, signed, span, with_span
from workbench.studies.report.ranked import largest_first, ranked, records
from workbench.studies.report.units import direction, with_unit
from workbench.studies.report.wording import answer, called, pairs_answer
from workbench.studies.schema.study import EditsEntry, Study
from workbench.studies.statistics.doses import dose_curves
from workbench.studies.statistics.effects import distances

MOST_ROWS = 20
FEWEST_CELLS = 6  # fewer are read faster in the table
MOST_LINES = 8
MOST_CONTROLLED = 12
MOST_NODES = 40


def family_blocks(
    study: Study, entry: EditsEntry, metric: str, effects: pd.DataFrame, pairs: pd.DataFrame, layers: pd.DataFrame
) -> list[Block]:
    """Everything about one entry of edits.

    Args:
        effects, pairs, layers: rows of the tables that belong to it, of all models and metrics.
    """
    blocks: list[Block] = [Heading(f"Edits: {entry.name}")]
    several = effects["model"].nunique() > 1
    for model, mine in effects.groupby("model", sort=False, observed=True):
        if several:
            blocks.append(Heading(str(model), 3))
        blocks.append(Paragraph(answer(study, str(model), entry.name, ranked(mine, metric))))
        blocks += _maps(study, mine, metric)
        blocks += _by_layer(study, mine, layers[layers["model"] == model], metric)
        blocks += _ranking(study, mine, metric)
        blocks += _controls(study, mine, metric)
        blocks += _doses(study, mine, metric)
        own = pairs[(pairs["model"] == model) & (pairs["metric"] == metric)]
        blocks += _pairs(own, str(model), metric, study)
    if several:
        blocks += _side_by_side(study, layers, metric)
    return blocks


def _metrics_first(rows: pd.DataFrame, metric: str) -> list[str]:
    return sorted(map(str, rows["metric"].unique()), key=lambda name: name != metric)


def _maps(study: Study, rows: pd.DataFrame, metric: str) -> Iterator[Block]:
    for name in _metrics_first(rows, metric):
        grid = grid_of(rows[rows["metric"] == name])
        if grid is None or len(grid.columns) < 2 or np.isfinite(grid.values).sum() < FEWEST_CELLS:
            continue
        dots = f"; dots: q ≤ {study.statistics.q:g}"
        if not grid.marked.any():
            dots = "; not tested" if name in distances(study) else f"; no cell has q ≤ {study.statistics.q:g}"
        meaning = (
            f"Effect on {name}, the first layer at the bottom{direction(study, name)}"
            + (f", at dose {grid.dose:g}" if grid.dose is not None else "")
            + dots
            + ("; crosses: no value." if np.isnan(grid.values).any() else ".")
        )
        yield Plot(effect_map(grid, with_unit(study, name)), meaning, "low" if len(grid.layers) <= 6 else "wide")


def _by_layer(study: Study, rows: pd.DataFrame, layers: pd.DataFrame, metric: str) -> Iterator[Block]:
    """Where a layer has one target only, a curve says more than a map of one column."""
    grid = grid_of(rows[rows["metric"] == metric])
    mine = layers[layers["metric"] == metric]
    if grid is None or len(grid.columns) > 1 or len(mine) < 2 or rows["dose"].nunique() > 1:
        return
    figure = curves(mine, "family", "layer", with_unit(study, metric), "layer")
    caption = f"Effect on {metric} by layer; whiskers are intervals{direction(study, metric)}."
    yield Plot(figure, caption, "wide")


def _ranking(study: Study, rows: pd.DataFrame, metric: str) -> Iterator[Block]:
    best = ranked(rows, metric)
    if best.empty:
        return
    split, controlled = str(best["split"].iloc[0]) == "confirm", bool((best["controls"] > 0).any())
    restored = bool(best["restored"].notna().any())
    others = [name for name in _metrics_first(rows, metric) if name != metric][:3]
    columns = [
        "edit",
        f"effect on {metric}",
        f"{percent(study.statistics.level)} interval",
        "q",
        "n",
        *["when discovered"] * split,
        *["ratio left"] * restored,
        *["p among controls"] * controlled,
        *(f"effect on {name}" for name in others),
    ]
    by_key = {(row["edit_id"], row["metric"]): row["effect"] for row in records(rows[rows["control_of"].isna()])}
    shown = []
    for row in records(best.head(MOST_ROWS)):
        shown.append(
            [
                called(row) + ("\u00a0*" if row["significant"] else ""),
                signed(row["effect"]),
                span(row["low"], row["high"]),
                probability(row["q"]),
                f"{row['n']}" + ("†" if row["missing"] else ""),
                *[signed(row["discover"])] * split,
                *[_ratio(row)] * restored,
                *[f"{probability(row['p_controls'])} of {row['controls']}" if row["controls"] else NONE] * controlled,
                *(signed(by_key.get((row["edit_id"], name), float("nan"))) for name in others),
            ]
        )
    order = "by the prompts to discover with" if split else "the largest effect first"
    counted = f"The first {len(shown)} of {len(best):,} edits" if len(best) > len(shown) else "All edits"
    marks = f"* q ≤ {study.statistics.q:g}" + ("; † lacks prompts" if (best["missing"] > 0).any() else "")
    left = " Ratio left: (edited - corrupt) / (clean - corrupt), of means: 1 where an edit changes nothing." * restored
    yield Table(columns, shown, f"{counted}, {order}. {marks}.{left}", frozenset(range(1, len(columns))))


def _ratio(row: dict[str, Any]) -> str:
    if row["restored"] != row["restored"]:
        return NONE
    return f"{number(row['restored'])} ({span(row['restored_low'], row['restored_high'])})"


def _controls(study: Study, rows: pd.DataFrame, metric: str) -> Iterator[Block]:
    best = ranked(rows, metric)
    best = best[best["controls"] > 0]
    best = best[~best.duplicated("label")].head(MOST_CONTROLLED)
    if best.empty:
        return
    drawn = rows[(rows["metric"] == metric) & rows["control_of"].notna()]
    effects: dict[str, Sequence[float]] = {}
    for label, dose in zip(best["label"], best["dose"], strict=True):
        same_dose = (drawn["dose"] == dose) | (drawn["dose"].isna() & pd.isna(dose))
        mine = drawn[(drawn["control_of"] == label) & same_dose & drawn["effect"].notna()]
        effects[str(label)] = [float(effect) for effect in mine["effect"]]
    yield Plot(
        controls_plot(best, effects, with_unit(study, metric)),
        f"Edits beside their random controls: other targets, as many, drawn blindly. Effect on {metric}"
        f"{direction(study, metric)}.",
        "wide",
    )


def _doses(study: Study, rows: pd.DataFrame, metric: str) -> Iterator[Block]:
    table = dose_curves(rows[rows["metric"] == metric])
    if table.empty:
        return
    sizes = table.groupby("label", sort=False)["effect"].agg(lambda effects: effects.abs().max())
    first = list(sizes.sort_values(ascending=False, kind="stable").index[:MOST_LINES])
    shown = table[table["label"].isin(first)]
    more = f"; the {MOST_LINES} of {len(sizes)} edits with the largest effects" if len(sizes) > MOST_LINES else ""
    figure = curves(shown, "label", "dose", with_unit(study, metric), "dose")
    yield Plot(
        figure,
        f"Effect on {metric} by dose{more}{direction(study, metric)}. Whiskers are intervals, one by one.",
        "wide",
    )


def _pairs(pairs: pd.DataFrame, model: str, metric: str, study: Study) -> Iterator[Block]:
    measured = pairs[pairs["interaction"].notna()]
    if measured.empty:
        return
    yield Paragraph(pairs_answer(measured, model, metric, study.statistics.q))
    yield Plot(
        interaction_plot(measured, with_unit(study, metric)),
        "Pairs: what both do at once over the sum of what each does alone. On the dashed line they do not interact; "
        f"filled: q ≤ {study.statistics.q:g}.",
        "wide",
    )
    names = list(dict.fromkeys([*measured["first"], *measured["second"]]))
    if 3 <= len(names) <= MOST_NODES:
        yield _pair_map(study, measured, names, metric)
    best = largest_first(measured, "interaction")
    rows = [
        [
            str(row["label"]) + ("\u00a0*" if row["significant"] else ""),
            with_span(row["interaction"], row["low"], row["high"]),
            signed(row["effect"]),
            signed(row["effect_first"]),
            signed(row["effect_second"]),
            probability(row["q"]),
            str(row["n"]),
        ]
        for row in records(best.head(MOST_ROWS))
    ]
    columns = ("pair", "interaction", "both", "first alone", "second alone", "q", "n")
    yield Table(columns, rows, f"The largest interactions on {metric}: both - first - second", frozenset(range(1, 7)))


def _pair_map(study: Study, pairs: pd.DataFrame, names: Sequence[str], metric: str) -> Plot:
    place = {name: number for number, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    marked = np.zeros(values.shape, dtype=bool)
    texts = [["no value"] * len(names) for _ in names]
    for row in records(pairs):
        low, high = sorted((place[row["first"]], place[row["second"]]))
        values[low, high], marked[low, high] = row["interaction"], row["significant"]
        texts[low][high] = describe({**row, "effect": row["interaction"]})
    figure = pair_map(names, values, marked, texts, with_unit(study, metric, "interaction on"))
    crosses = "; crosses: no value" if np.isnan(values[np.triu_indices(len(names), 1)]).any() else ""
    caption = f"Interactions, pair by pair; dots: significant{crosses}."
    return Plot(figure, caption, "wide" if len(names) <= 8 else "square")


def _side_by_side(study: Study, layers: pd.DataFrame, metric: str) -> Iterator[Block]:
    mine = layers[layers["metric"] == metric]
    if mine["model"].nunique() < 2:
        return
    yield Heading("Models side by side", 3)
    figure = curves(mine, "model", "share", with_unit(study, metric, "mean effect on"), "depth (0 first layer, 1 last)")
    caption = (
        f"Mean effect on {metric} of the edits of each layer, over how deep it lies; whiskers are intervals. Where "
        "models read different prompts or are edited in places of different size, heights are not comparable as they "
        "stand."
    )
    yield Plot(figure, caption, "wide")
