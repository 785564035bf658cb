"""What was found, in sentences made from the numbers: no more than they say."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.studies.report.numbers import listed, number, percent, plural, probability, signed, span, with_span
from workbench.studies.report.ranked import largest_first, main_metrics, ranked, records
from workbench.studies.schema.study import EditsEntry, Study
from workbench.studies.statistics.effects import distances
from workbench.studies.statistics.resampling import EXPLORATORY

MOST_LED = 2
"""Sentences at the head of a page."""


def lead(study: Study, effects: pd.DataFrame) -> str:
    """The answer in short: what the first entries of edits found."""
    metrics = main_metrics(study)
    tested = effects[effects["control_of"].isna()]
    found = [
        _short(study, str(model), str(family), metrics[str(family)], ranked(rows, metrics[str(family)]))
        for (model, family), rows in tested.groupby(["model", "family"], sort=False, observed=True)
    ]
    most = int(tested["n"].max()) if len(tested) else 0
    hedge = f" Exploratory: {plural(most, 'prompt group')}." if 0 < most < EXPLORATORY else ""
    return (" ".join(found[:MOST_LED]) or "Nothing has been measured yet.") + hedge


def _short(study: Study, model: str, family: str, metric: str, rows: pd.DataFrame) -> str:
    found = rows[rows["significant"]]
    if metric in distances(study) or found.empty:
        return answer(study, model, family, rows, hedged=False)
    return (
        f"In {model}, {len(found):,} of {plural(len(rows), 'edit')} of {family} "
        f"{'changes' if len(found) == 1 else 'change'} {metric} (q ≤ {study.statistics.q:g}): "
        f"{_directions(found, metric)}."
    )


def overview(study: Study, effects: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of all models and entries of edits: tests, how many were found, the first edit."""
    metrics = main_metrics(study)
    tested = effects[effects["control_of"].isna()]
    shown = []
    for (model, family), rows in tested.groupby(["model", "family"], sort=False, observed=True):
        metric = metrics[str(family)]
        best = ranked(rows, metric)
        first = next(iter(records(best.head(1))), None)
        count = "not tested" if metric in distances(study) else f"{int(best['significant'].sum()):,} of {len(best):,}"
        words = with_span(first["effect"], first["low"], first["high"]) if first else ""
        shown.append([str(model), str(family), metric, count, called(first) if first else "", words])
    return ["model", "edits", "metric", f"with q ≤ {study.statistics.q:g}", "first", "its effect"], shown


def answer(study: Study, model: str, family: str, rows: pd.DataFrame, hedged: bool = True) -> str:
    """What became of one model and entry of edits.

    Args:
        rows: of `ranked`.
        hedged: whether to say so where there are few prompt groups.
    """
    metric = main_metrics(study)[family]
    measured = rows[rows["effect"].notna()]
    if measured.empty:
        return f"In {model}, nothing was measured of {family}."
    m, groups = len(rows), int(measured["n"].max())
    hedge = f" Exploratory: {plural(groups, 'prompt group')}." if hedged and groups < EXPLORATORY else ""
    largest = records(largest_first(measured, "effect").head(1))[0]
    if metric in distances(study):
        return (
            f"In {model}, of {plural(m, 'edit')} of {family}, {called(largest)} moves {metric} furthest, "
            f"{_measured(largest)}; distances are not tested.{hedge}"
        )
    found = measured[measured["significant"]]
    q = study.statistics.q
    if found.empty:
        return (
            f"In {model}, none of {plural(m, 'edit')} of {family} changes {metric} by more than chance would (q ≤ "
            f"{q:g}); the largest effect is that of {called(largest)}, {_measured(largest)}. That is not evidence that "
            f"they do nothing.{hedge}"
        )
    best = records(found.head(1))[0]
    directions = _directions(found, metric)
    return (
        f"In {model}, {len(found):,} of {plural(m, 'edit')} of {family} {'change' if len(found) > 1 else 'changes'} "
        f"{metric} (q ≤ {q:g}): {directions}. {_first(best)} {_measured(best)}.{_controls(best)}{hedge}"
    )


def _first(best: dict[str, Any]) -> str:
    chosen = "First by the prompts to discover with" if str(best["split"]) == "confirm" else "The largest effect"
    return f"{chosen} is {called(best)}:"


def _directions(found: pd.DataFrame, metric: str) -> str:
    up, down = (found[found["effect"] > 0], found[found["effect"] < 0])
    parts = []
    for rows, verb in ((up, "raise"), (down, "lower")):
        if len(rows):
            verb = verb + ("s" if len(rows) == 1 else "")
            parts.append(f"{listed([called(row) for row in records(rows)], 4)} {verb} it")
    return "; ".join(parts) or f"{metric} changes"


def _measured(row: dict[str, Any]) -> str:
    interval = f", interval {span(row['low'], row['high'])}" if row["low"] == row["low"] else ""
    tested = f", q {_compared(row['q'])}" if row["q"] == row["q"] else ""
    return f"{signed(row['effect'])} (from {number(row['baseline'])}{interval}{tested}, n = {row['n']})"


def _compared(value: float) -> str:
    text = probability(value)
    return text if text.startswith("<") else f"= {text}"


def _controls(row: dict[str, Any]) -> str:
    count = int(row["controls"])
    if not count or row["p_controls"] != row["p_controls"]:
        return ""
    larger = round(float(row["p_controls"]) * (count + 1)) - 1
    as_much = "do" if larger != 1 else "does"
    who = "None" if larger == 0 else f"{larger:,}"
    return f" {who} of its {plural(count, 'random control')} {as_much} as much (p {_compared(row['p_controls'])})."


def called(row: dict[str, Any]) -> str:
    """An edit's label, with its dose."""
    return str(row["label"]) + (f" at {row['dose']:g}" if row["dose"] == row["dose"] else "")


def pairs_answer(pairs: pd.DataFrame, model: str, metric: str, q: float) -> str:
    """What became of the pairs of one model, family and metric."""
    found = pairs[pairs["significant"]]
    best = records(largest_first(pairs, "interaction").head(1))[0]
    words = with_span(best["interaction"], best["low"], best["high"])
    start = f"In {model}, {len(found):,} of {plural(len(pairs), 'pair')} interact on {metric} (q ≤ {q:g})"
    return f"{start}; the largest interaction is that of {best['label']}, {words}."


def asked(study: Study, entry: EditsEntry) -> list[str]:
    """A row of the table of what was edited: entry, sites, method, search, where, judged by, controls."""
    controls = entry.controls
    return [
        entry.name,
        kind_text(entry.sites),
        kind_text(entry.method),
        kind_text(entry.search),
        "everywhere" if entry.positions is None else str(entry.positions),
        main_metrics(study)[entry.name],
        "none" if controls is None else f"{controls.draws}, same {listed(list(controls.match))}",
    ]


def kind_text(kind: Any) -> str:
    """A kind's word, and its options where they are not the default."""
    chosen = kind.model_dump(mode="json", exclude_defaults=True)
    word = chosen.pop("kind")
    options = ", ".join(f"{key} {_plain(value)}" for key, value in chosen.items())
    return f"{word} ({options})" if options else str(word)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return listed([_plain(part) for part in value])
    return kind_words(value) if isinstance(value, dict) else str(value)


def kind_words(value: dict[str, Any]) -> str:
    """A kind inside of a kind."""
    rest = ", ".join(f"{key} {_plain(part)}" for key, part in value.items() if key != "kind")
    return f"{value.get('kind', '')} {rest}".strip()


def method_of_judging(study: Study, split: str) -> str:
    """How the numbers were made, in a paragraph."""
    asked_for = study.statistics
    halves = {
        "confirm": "Edits are ranked on the prompts to discover with; other numbers are from those to confirm with. ",
        "discover": "Every number is from the prompts to discover with. ",
    }.get(split, "")
    return (
        "An effect is the metric of the edited run less that of the unedited run on the same prompt, averaged within "
        f"prompt groups and then over them. {halves}Intervals cover {percent(asked_for.level)} "
        f"({asked_for.interval}, {asked_for.resamples:,} resamples of prompt groups, the same for every edit; each "
        "interval holds by itself). p is of a test that flips the signs of whole groups; q is corrected within each "
        "model, entry and metric after Benjamini and Hochberg. (What the test denies is that an effect is as likely as "
        "its opposite: effects lopsided about 0 count, too.) Metrics that compare with the unedited run, as KL does, "
        "are never below 0 and are not tested. What is not marked is not shown to do nothing."
    )
