"""``workbench attention`` without a layer: how every head of every layer reads a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from workbench.cli.models import summary
from workbench.cli.output import Output, facts
from workbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.attention import AttentionStatistics
    from workbench.model import HookedModel

REDUCTIONS = "mass,entropy,mean_distance_by_mass"
UNITS = {"entropy": "nats", "mean_distance_by_mass": "tokens", "mean_distance_by_energy": "tokens"}
MEANING = {
    "mass": "sum of |A| over the sources",
    "energy": "sum of A² over the sources",
    "entropy": "entropy of |A| over the sources, in nats: how spread out a head reads",
    "mean_distance_by_mass": "how many tokens back, weighed by |A|",
    "mean_distance_by_energy": "how many tokens back, weighed by A²",
    "top_share": "share of the mass that the largest entries of a row carry",
}


def statistics(
    opened: HookedModel,
    tokens: Tensor,
    asked: str,
    mixer: int | None,
    scope: Literal["core", "mixer"],
    top: int,
    output: Output,
) -> None:
    """Print, save and draw the statistics. Raises InputError for a reduction without an average."""
    reductions = [name.strip() for name in asked.split(",")]
    unknown = [name for name in reductions if name not in MEANING and name not in ("top", "histogram")]
    if unknown:
        there = ", ".join([*(name for name in MEANING if name != "top_share"), "top", "histogram"])
        raise InputError(f"There is no statistic {unknown[0]!r}; there is {there}.")
    found = opened.attention_statistics(
        tokens, reductions, mixer=mixer, scope=scope, top=top, per_token=False, progress=output.progress
    )
    title = f"{opened.cfg.model_name}: how each head reads {tokens.shape[1]} tokens"
    lead = f"Averages over the text, {scope} scope; in a layer: the mean over its heads, and the range."
    output.console.print(f"{title}\n{lead}", highlight=False, markup=False)
    output.console.print(_table(found))
    output.save({"model": summary(opened), "tokens": opened.to_str_tokens(tokens[0]), "statistics": found.to_dict()})
    if output.html_file is not None:
        from workbench.report import Page, Plot
        from workbench.report import Table as PageTable

        shape: Literal["low", "wide"] = "low" if len(found.mixers) <= 6 else "wide"
        plots = [Plot(found.plot(name), f"{_called(name)}: {MEANING[name]}.", shape) for name in _averages(found)]
        rows = PageTable(_columns(found), _rows(found), lead, frozenset(range(2, 3 + len(_averages(found)))))
        output.write_page(Page(title, lead, [*plots, rows], facts(Model=opened.cfg.model_name)))


def _averages(found: AttentionStatistics) -> list[str]:
    return list(found.mixers[0].averages)


def _called(name: str) -> str:
    unit = f" ({UNITS[name]})" if name in UNITS else ""
    return name.replace("_", " ") + unit


def _columns(found: AttentionStatistics) -> tuple[str, ...]:
    return ("layer", "family", "heads", *(_called(name) for name in _averages(found)))


def _rows(found: AttentionStatistics) -> list[tuple[str, ...]]:
    rows = []
    for mixer in found.mixers:
        cells = [_cell(mixer.averages[name]) for name in _averages(found)]
        units = len(next(iter(mixer.averages.values()), ()))
        rows.append((mixer.place, mixer.family, f"{units} {mixer.unit}s", *cells))
    return rows


def _cell(values: Tensor) -> str:
    numbers = values[~values.isnan()].double()
    if not len(numbers):
        return "–"
    return f"{numbers.mean():.3g} ({numbers.min():.2g}–{numbers.max():.2g})"


def _table(found: AttentionStatistics) -> Any:
    from rich.table import Table

    table = Table()
    for index, column in enumerate(_columns(found)):
        table.add_column(column, justify="left" if index < 2 else "right")
    for row in _rows(found):
        table.add_row(*row)
    return table
