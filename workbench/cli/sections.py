"""Parts of the pages that commands write: results of the rooms below as blocks of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.cli.output import records
from workbench.cli.tables import CONDITIONS, ablation_columns, ablation_rows, head_cells
from workbench.figures import ablation_bars
from workbench.figures.bars import Bar
from workbench.figures.scores import MOST_UNSORTED
from workbench.report import Block, Note, Plot, Table

if TYPE_CHECKING:
    import pandas as pd


def scores(table: pd.DataFrame, kind: str, unit: str, top: int) -> list[Block]:
    """The score map of a kind, and its best heads."""
    return [
        scores_plot(table, kind, unit),
        Table(
            ("head", "score", "95 % interval", "95 % null", "p"),
            [head_cells(row) for row in records(table.head(top))],
            f"The best {min(top, len(table))} of {len(table)}",
            frozenset({1, 2, 3, 4}),
        ),
    ]


def scores_plot(table: pd.DataFrame, kind: str, unit: str) -> Plot:
    """The score map of a kind of head."""
    from workbench.probes.heads.figures import heads_map
    from workbench.probes.heads.table import meaning

    by_layer = [rows for _, rows in table.groupby(["layer", "mixer"])]
    figure = heads_map(table, unit=unit)
    sorted_layers = max(len(rows) for rows in by_layer) > MOST_UNSORTED
    marks = "the mark in each layer stands behind the last one" if sorted_layers else "dots stand on those"
    return Plot(
        figure,
        f"Score of every {unit}, the first layer at the bottom; {marks} whose whole interval lies above the 95 % null. "
        + meaning(table),
        "low" if len(by_layer) <= 6 else "wide",
    )


def ablation(result: pd.DataFrame, what: str, notes: Sequence[str] = ()) -> list[Block]:
    """Bars and table of an ablation against random controls."""
    rows = records(result)
    bars = [
        Bar(
            panel=panel,
            group=f"{copy} copy",
            condition=CONDITIONS[row["condition"]],
            value=row[f"{measure}_{copy}"],
            low=row[f"{measure}_{copy}_low"],
            high=row[f"{measure}_{copy}_high"],
        )
        for measure, panel in (("accuracy", "accuracy"), ("loss", "loss (nats)"))
        for copy in ("first", "second")
        for row in rows
    ]
    caption = (
        f"Ablated: {what}. Whiskers are 95 % intervals: over sequences for what is measured once, over the random sets "
        "for random others, which are as many, in the same layers where there are enough."
    )
    return [
        Plot(ablation_bars(bars), caption, "wide"),
        Table(ablation_columns(result), ablation_rows(result), "", frozenset({1, 2, 3})),
        *(Note(note) for note in notes),
    ]


def verdict(result: pd.DataFrame) -> str:
    """One sentence: what the second copy lost, against random sets."""
    by = {row["condition"]: row for row in records(result)}
    top, random, base = by["top"], by["random"], by["baseline"]
    return (
        f"Without them accuracy on the second copy goes from {base['accuracy_second']:.0%} to "
        f"{top['accuracy_second']:.0%} and loss from {base['loss_second']:.2f} to {top['loss_second']:.2f} nats; "
        f"without random others accuracy is {random['accuracy_second']:.0%} and loss {random['loss_second']:.2f} "
        f"(p = {top['p_loss_second']:.3f}, at least {top['p_least']:.3f} with so many random sets)."
    )
