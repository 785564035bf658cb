"""Two studies side by side: a page, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures.colours import POSITIVE
from workbench.figures.maps import plain_layout
from workbench.figures.tokens import escape_label
from workbench.report import Block, Heading, Note, Page, Paragraph, Plot, Table, check_writable, write_page
from workbench.studies.report.numbers import listed, percent, plural, probability, signed, span
from workbench.studies.report.ranked import largest_first, records
from workbench.studies.report.running import environment_facts
from workbench.studies.report.units import with_unit
from workbench.studies.statistics.comparing import compare_studies
from workbench.studies.statistics.results import Results
from workbench.studies.statistics.settings import differing_settings
from workbench.studies.store.exporting import write_table

if TYPE_CHECKING:
    from rich.console import Group

MOST_ROWS = 30
_TOGETHER = ["match", "model_a", "model_b", "family", "metric"]


def write_comparison(
    a: Results,
    b: Results,
    path: Path,
    *,
    facts: Mapping[str, str] | None = None,
    differences: pd.DataFrame | None = None,
) -> list[Path]:
    """Write the page that compares two studies, and beside it the differences as CSV and Parquet.

    Args:
        facts: more for the foot of the page, such as the command that made it.
        differences: of `compare_studies`, where they are at hand.

    Returns:
        Every file that was written: the page first.

    Raises:
        InputError: the studies have nothing in common, or a file cannot be written.
    """
    data = [path.with_suffix(f".differences.{kind}") for kind in ("csv", "parquet")]
    for file in (path, *data):
        check_writable(file)
    table = compare_studies(a, b) if differences is None else differences
    for file in data:
        write_table(table, file)
    write_page(path, comparison_page(a, b, table, {"Data": ", ".join(file.name for file in data), **(facts or {})}))
    return [path, *data]


def comparison_page(a: Results, b: Results, table: pd.DataFrame, facts: Mapping[str, str]) -> Page:
    """The page, from differences that are at hand."""
    names = [a.study.name, b.study.name]
    both = {"A": f"{names[0]} in {a.folder}", "B": f"{names[1]} in {b.folder}"}
    run = [(which, environment_facts(one)) for which, one in (("A", a), ("B", b))]
    foot = {f"{which}: {name}": value for which, known in run for name, value in known.items()}
    title = f"{names[0]} against {names[1]}"
    return Page(title, summary(a, table), list(_blocks(a, b, table)), {**both, **foot, **facts})


def summary(a: Results, table: pd.DataFrame) -> str:
    """What differs, in two sentences."""
    edits = table[table["match"] == "label"]
    if table.empty:
        return "No edit of one study is in the other."
    paired = edits[edits["p"].notna()]
    q = a.study.statistics.q
    found = int((paired["q"] <= q).sum())
    apart = edits[~edits["paired"].astype(bool) & ((edits["low"] > 0) | (edits["high"] < 0))]
    said = [f"{plural(len(edits), 'effect')} (an edit on a metric) can be matched."] if len(edits) else []
    if len(paired):
        said.append(f"On the same prompts, {found:,} of {len(paired):,} differ (q ≤ {q:g}).")
    if len(edits) > len(paired):
        said.append(
            f"On different prompts, the intervals of {len(apart):,} of {len(edits) - len(paired):,} differences leave "
            "out 0; these are not corrected for their number."
        )
    if edits.empty:
        said.append("The studies share no edit by name; their models' layers are set side by side by depth.")
    return " ".join(said)


def comparison_text(differences: pd.DataFrame, top: int = 10) -> Group:
    """A rich table for each pair of models, entry and metric: the `top` largest differences of `compare_studies`."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    shown: list[Any] = []
    for key, rows in differences.groupby(_TOGETHER, sort=False, observed=True):
        table = RichTable(title=Text(_title(key)), title_justify="left", caption=_counted(rows, top))
        for place, column in enumerate(("edit", "A", "B", "B - A", "interval", "q")):
            table.add_column(column, justify="right" if place else "left")
        for cells in _cells(largest_first(rows, "difference"), top):
            table.add_row(*(Text(cell) for cell in cells[:6]))
        shown.append(table)
    return Group(*(shown or [Text("No edit of one study is in the other.")]))


def _blocks(a: Results, b: Results, table: pd.DataFrame) -> Iterator[Block]:
    settings = differing_settings(a.study, b.study)
    yield Heading("Settings that differ")
    if settings.empty:
        yield Paragraph("None that could change a result.")
    else:
        shown = [[str(cell) for cell in row] for row in settings.itertuples(index=False, name=None)]
        yield Table(("setting", "A", "B"), shown)
    versions = [environment_facts(one).get("Run with", "") for one in (a, b)]
    if versions[0] != versions[1]:
        yield Note("The two were run with different versions or machines; see the foot of the page.")
    level = percent(a.study.statistics.level)
    for key, rows in table.groupby(_TOGETHER, sort=False, observed=True):
        yield Heading(_title(key))
        metric = str(key[-1]) if isinstance(key, tuple) else ""
        yield Plot(
            _scatter(rows, with_unit(a.study, metric)),
            "Effect in B over effect in A; on the dashed line they agree.",
            "wide",
        )
        paired = bool(rows["paired"].all())
        how = "on the same prompts, paired" if paired else "on different prompts, each resampled on its own"
        caption = f"{_counted(rows, MOST_ROWS)}, {how}; intervals cover {level} each"
        columns = ("edit", "A", "B", "B - A", f"{level} interval", "q", "groups")
        yield Table(columns, _cells(largest_first(rows, "difference"), MOST_ROWS), caption, frozenset(range(1, 7)))
    missing = _only_in_one(a, b)
    if missing:
        yield Heading("Not compared")
        for sentence in missing:
            yield Paragraph(sentence)


def _title(key: Any) -> str:
    match, model_a, model_b, family, metric = (str(part) for part in key)
    models = model_a if model_a == model_b else f"{model_a} (A) and {model_b} (B)"
    return f"{models}: {family}, {metric}" + (", layers by depth" if match == "depth" else "")


def _counted(rows: pd.DataFrame, top: int) -> str:
    return (
        f"The {top} largest of {len(rows):,} differences" if len(rows) > top else "All differences, the largest first"
    )


def _cells(rows: pd.DataFrame, top: int) -> list[list[str]]:
    shown = []
    for row in records(rows.head(top)):
        dose = "" if row["dose"] != row["dose"] else f" at {row['dose']:g}"
        groups = str(row["n_a"]) if row["paired"] else f"{row['n_a']} and {row['n_b']}"
        effects = [signed(row[column]) for column in ("effect_a", "effect_b", "difference")]
        shown.append([f"{row['label']}{dose}", *effects, span(row["low"], row["high"]), probability(row["q"]), groups])
    return shown


def _scatter(rows: pd.DataFrame, name: str) -> go.Figure:
    x, y = (rows[column].to_numpy(dtype=np.float64) for column in ("effect_a", "effect_b"))
    finite = np.concatenate([x, y])[np.isfinite(np.concatenate([x, y]))]
    ends = [float(finite.min()), float(finite.max())] if finite.size else [0.0, 0.0]
    line = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.8)", "automargin": True}
    figure = go.Figure(
        [
            go.Scatter(
                x=ends, y=ends, mode="lines", line={"color": "rgba(128,128,128,0.9)", "dash": "dash"}, hoverinfo="skip"
            ),
            go.Scatter(
                x=x,
                y=y,
                mode="markers",
                marker={"size": 7, "color": POSITIVE},
                text=[escape_label(cells[0] + ": " + cells[3]) for cells in _cells(rows, len(rows))],
                hovertemplate="%{text}<extra></extra>",
            ),
        ]
    )
    name = escape_label(name)
    figure.update_layout(
        xaxis={**line, "title": f"{name}, A"}, yaxis={**line, "title": f"{name}, B"}, showlegend=False, **plain_layout()
    )
    return figure


def _only_in_one(a: Results, b: Results) -> list[str]:
    """Models, entries, metrics and edits that only one of the studies has."""
    said = []
    for what, column in (("models", "model"), ("entries of edits", "family"), ("metrics", "metric")):
        in_a, in_b = (set(map(str, results.frame[column])) for results in (a, b))
        for which, mine, other in (("A", in_a, in_b), ("B", in_b, in_a)):
            if mine - other:
                said.append(f"Only in {which}, {what}: {listed(sorted(mine - other))}.")
    return said
