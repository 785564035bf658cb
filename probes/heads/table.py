"""The table that head finders return, and how to go on from it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.sites import Site

COLUMNS = (
    "layer",
    "mixer",
    "head",
    "site",
    "score",
    "low",
    "high",
    "null",
    "excess",
    "p",
    "kind",
    "normalise",
    "scope",
    "family",
)


def head_table(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """A table of heads, best score first (ties in the order of layers, mixers and heads)."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


@checked_call
def top_heads(table: pd.DataFrame, k: int, *, by: str = "score") -> pd.DataFrame:
    """The `k` rows with the largest value in column `by`, largest first.

    Raises:
        InputError: the table has no such column or fewer than `k` rows, or `k` is below 1.
    """
    if by not in table.columns:
        raise InputError(f"The table has no column {by!r}; there is: {', '.join(map(str, table.columns))}.")
    if not 1 <= k <= len(table):
        raise InputError(f"k is {k}, and the table has {len(table)} heads; choose 1..{len(table)}.")
    return table.sort_values(by, ascending=False, kind="stable", ignore_index=True).head(k)


@checked_call
def clear_heads(table: pd.DataFrame, *, share: float = 0.5, least: float = 0.1) -> list[str]:
    """Sites of the heads that are clearly of the table's kind, best first.

    Their whole interval lies above the null, and their score is at least `share` of the best one and at least `least`:
    a head that gives less than a tenth of what it reads to the defining token may beat its null and still do something
    else.
    """
    if table.empty:
        return []
    clear = (table["low"] > table["null"]) & (table["score"] >= max(least, float(table["score"].max()) * share))
    return [str(site) for site in table["site"][clear]]


@checked_call
def sites_of(table: pd.DataFrame) -> list[Site]:
    """The sites that the rows of a table stand for, ready to be ablated.

    Raises:
        InputError: the table did not come from `find_heads`.
    """
    if "site" not in table.columns:
        raise InputError("The table has no column 'site'; give one that find_heads returned.")
    return [Site.parse(str(site)) for site in table["site"]]


@checked_call
def above_null(table: pd.DataFrame) -> int:
    """How many heads lie above the 95 % quantile of their null distribution with their whole interval.

    Of heads for which the defining places mean nothing, about one in twenty has a score above that quantile.
    """
    return int((table["low"] > table["null"]).sum())


@checked_call
def expected_best(table: pd.DataFrame, drawn: int, *, by: str = "excess") -> float:
    """The largest value of `drawn` heads, on average over all ways of drawing so many from a table.

    The best of many heads is higher than the best of few by chance alone, so models are compared by the best of as many
    as the smaller one has. Of n values, the i-th smallest is the largest drawn one with probability
    ``C(i - 1, drawn - 1) / C(n, drawn)``.

    Raises:
        InputError: no such column, or more are drawn than there are.
    """
    if by not in table.columns:
        raise InputError(f"The table has no column {by!r}; there is: {', '.join(map(str, table.columns))}.")
    if not 1 <= drawn <= len(table):
        raise InputError(f"drawn is {drawn}, and the table has {len(table)} heads; choose 1..{len(table)}.")
    values = sorted(map(float, table[by]))
    # In logarithms, since the binomials of a thousand channels overflow.
    whole = _log_choose(len(values), drawn)
    return sum(
        math.exp(_log_choose(smaller, drawn - 1) - whole) * value
        for smaller, value in enumerate(values)
        if smaller >= drawn - 1
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def meaning(table: pd.DataFrame) -> str:
    """What the scores of a table are numbers of, in a sentence."""
    row = table.iloc[0]
    if row["kind"] == "copying":
        return f"A score is in logits, weighed by shares of a row ({row['normalise']}, {row['scope']} scope)."
    if row["normalise"] in ("mass", "energy"):
        of = "sizes" if row["normalise"] == "mass" else "squares"
        whose = "whole mixer" if row["scope"] == "mixer" else "softmax or recurrence alone"
        return (
            f"A score is the share of a row that lies on the token such heads read: of the {of} of its weights "
            f"({row['normalise']}), in the matrix of the {whose} ({row['scope']} scope)."
        )
    return f"A score is taken from the {row['normalise']} ({row['scope']} scope)."
