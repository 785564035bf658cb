"""The first rows of a study's effects, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.studies.report.numbers import NONE, percent, probability, signed, span
from workbench.studies.report.ranked import main_metrics, ranked, records
from workbench.studies.statistics.results import Results

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group


def effects_text(results: Results, top: int = 10, effects: pd.DataFrame | None = None) -> Group:
    """A rich table for each model and entry of edits: its `top` largest effects on the metric that the entry goes by.

    Args:
        effects: of `effects_table`, where it is at hand.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from workbench.studies.statistics.effects import effects_table

    effects = effects_table(results) if effects is None else effects
    study = results.study
    metrics = main_metrics(study)
    shown = []
    tested = effects[effects["control_of"].isna()]
    for (model, family), rows in tested.groupby(["model", "family"], sort=False, observed=True):
        metric = metrics[str(family)]
        best = ranked(rows, metric)
        if best.empty:
            continue
        split = " (prompts to confirm with)" if str(best["split"].iloc[0]) == "confirm" else ""
        title = Text(f"{model}: {family}, {metric}{split}")
        table = Table(
            title=title, title_justify="left", caption=_caption(best, top, study.statistics.q), caption_justify="left"
        )
        controls = bool((best["controls"] > 0).any())
        names = ["edit", "effect", f"{percent(study.statistics.level)} interval", "q", "n", *["controls p"] * controls]
        for name in names:
            table.add_column(name, justify="left" if name == "edit" else "right")
        for row in records(best.head(top)):
            dose = "" if row["dose"] != row["dose"] else f" at {row['dose']:g}"
            cells = [
                f"{row['label']}{dose}",
                signed(row["effect"]),
                span(row["low"], row["high"]),
                probability(row["q"]),
                f"{row['n']}{'†' if row['missing'] else ''}",
                *[probability(row["p_controls"]) if row["controls"] else NONE] * controls,
            ]
            table.add_row(*(Text(cell) for cell in cells), style="bold" if row["significant"] else None)
        shown.append(table)
    return Group(*shown) if shown else Group(Text("Nothing has been measured yet."))


def _caption(best: pd.DataFrame, top: int, q: float) -> str:
    found = int(best["significant"].sum())
    more = f", the first {top} shown" if len(best) > top else ""
    marks = "; † lacks prompts" if (best["missing"].head(top) > 0).any() else ""
    if best["q"].isna().all():
        return f"{len(best)} edits{more}; a distance is not tested{marks}"
    return f"{found} of {len(best)} with q <= {q:g}{more}{marks}"
