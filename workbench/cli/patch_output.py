"""What ``workbench patch`` found, on a terminal and on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.cli.output import records

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from rich.table import Table

    from workbench.cli.patch_runs import Runs


def effect_columns(table: pd.DataFrame) -> list[str]:
    """Titles that go with `effect_rows`."""
    if "direct" in table:
        return ["site", "direct", "total", "compensation"]
    front = ["sender", "receiver"] if "sender" in table else ["hook", "head", "position"]
    return [*front, "effect", "share"]


def effect_rows(table: pd.DataFrame, runs: Runs, top: int) -> list[list[str]]:
    """The largest effects first, with their intervals."""
    column = "total" if "direct" in table else "effect"
    order = table[column].abs().sort_values(ascending=False, kind="stable").index[:top]
    return [_row(row, runs) for row in records(table.loc[order])]


def effect_table(table: pd.DataFrame, runs: Runs, top: int) -> Table:
    """`effect_rows` for a terminal."""
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    names = ("site", "hook", "sender", "receiver", "position")
    for column in effect_columns(table):
        shown.add_column(column, justify="left" if column in names else "right", overflow="fold")
    for cells in effect_rows(table, runs, top):
        shown.add_row(*map(Text, cells))
    return shown


def effect_figure(table: pd.DataFrame, runs: Runs) -> go.Figure:
    """Layers, or heads, by positions; heads by layer; paths as bars; direct against total effects."""
    from workbench.figures import ablation_bars
    from workbench.figures.bars import Bar
    from workbench.probes.patching import effect_map, effects_scatter

    if "direct" in table:
        return effects_scatter(table)
    if "sender" in table:
        return ablation_bars(
            [
                Bar(f"to {row['receiver']}", row["sender"], "exchanged", row["effect"], _low(row), _high(row))
                for row in records(table)
            ]
        )
    if (table["head"] >= 0).any() and (table["position"] < 0).all() and not table.duplicated(["layer", "head"]).any():
        return effect_map(table, rows="layer", columns="head")
    if (table["head"] < 0).all() and not table.duplicated(["layer", "position"]).any():
        return effect_map(table, tokens=runs.tokens)
    named = table.assign(place=[_place(row) for row in records(table)])
    return effect_map(named, rows="place", tokens=runs.tokens)


def _row(row: dict[str, Any], runs: Runs) -> list[str]:
    if "direct" in row:
        cells = [
            _with_interval(row, name, f"{name}_low", f"{name}_high") for name in ("direct", "total", "compensation")
        ]
        return [str(row["site"]), *cells]
    effect = [
        _with_interval(row, "effect", "low", "high"),
        f"{row['share']:+.1%}" if row["share"] == row["share"] else "",
    ]
    if "sender" in row:
        return [str(row["sender"]), str(row["receiver"]), *effect]
    return [
        str(row["hook"]),
        str(row["head"]) if row["head"] >= 0 else "all",
        _position(row["position"], runs),
        *effect,
    ]


def _position(at: int, runs: Runs) -> str:
    from workbench.figures import visible_token

    if at < 0:
        return "all"
    return f"{at}" if runs.tokens is None else f"{at} {visible_token(runs.tokens[at])}"


def _place(row: dict[str, Any]) -> str:
    """Hook and head in a few letters: ``L1H2 z``."""
    layer = f"L{row['layer']}" if row["layer"] >= 0 else ""
    head = f"H{row['head']}" if row["head"] >= 0 else ""
    return f"{layer}{head} {row['hook'].rpartition('hook_')[2]}".strip()


def _with_interval(row: dict[str, Any], name: str, low: str, high: str) -> str:
    """A single sequence has no interval."""
    interval = "" if row[low] != row[low] or row[low] == row[high] else f" ({row[low]:+.3f} to {row[high]:+.3f})"
    return f"{row[name]:+.3f}{interval}"


def _low(row: dict[str, Any]) -> float | None:
    return row["low"] if row["low"] == row["low"] else None


def _high(row: dict[str, Any]) -> float | None:
    return row["high"] if row["high"] == row["high"] else None
