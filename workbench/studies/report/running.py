"""The part of a page about how a study was run: what is missing, on what machines, with what command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from workbench.report import Block, Heading, Note, Paragraph, Table
from workbench.studies.report.numbers import listed, number, plural
from workbench.studies.statistics.coverage import coverage_notes, least_p
from workbench.studies.statistics.results import Results

_TOLD_APART = {"device": "devices", "threads": "numbers of threads", "versions": "sets of versions", "host": "machines"}


def coverage_blocks(results: Results, effects: pd.DataFrame) -> Iterator[Block]:
    """What is missing, what was planned against advice, and what could not have been found."""
    counted = results.coverage
    yield Heading("Coverage")
    planned, done = int(counted.get("planned", 0)), int(counted.get("done", 0))
    yield Paragraph(f"{done:,} of {planned:,} units (an edit on a prompt, and the unedited runs) were measured.")
    for sentence in coverage_notes(results, effects):
        yield Note(sentence)
    hopeless = least_p(effects)
    hopeless = hopeless[hopeless["least"] > results.study.statistics.q]
    for row in hopeless.to_dict(orient="records"):
        yield Note(
            f"{row['model']}, {row['family']}, {row['metric']}: with {plural(int(row['n']), 'prompt group')} and "
            f"{plural(int(row['m']), 'test')}, a single effect, however large, has q ≥ {number(float(row['least']))}."
        )
    warned = [str(warning) for warning in results.plan.get("warnings", [])]
    if warned:
        yield Heading("Warnings of the plan", 3)
        for warning in warned:
            yield Note(warning)


def attempt_blocks(results: Results) -> Iterator[Block]:
    """Who computed what, and whether numbers of different machines stand in one table."""
    attempts = results.attempts
    if attempts.empty:
        return
    yield Heading("Runs")
    for sentence in mixtures(results):
        yield Note(sentence)
    if len(results.verified):
        stored, plain = (results.verified[column].astype("float64").to_numpy() for column in ("stored", "plain"))
        largest = float(np.nanmax(np.abs(stored - plain))) if len(stored) else 0.0
        yield Paragraph(
            f"{plural(len(stored), 'measurement')} made again plainly, one prompt at a time: they differ by "
            f"{number(largest)} at most."
        )
    wanted = ("run_id", "host", "engine", "workers", "device", "threads", "started_at", "ended_at", "ended")
    columns = [column for column in wanted if column in attempts]
    rows = [["" if pd.isna(cell) else str(cell) for cell in row] for row in attempts[columns].itertuples(index=False)]
    titles = [column.removesuffix("_at").removesuffix("_id") for column in columns]
    yield Table(titles, rows[:50], "" if len(rows) <= 50 else f"The first 50 of {len(rows)}")


def mixtures(results: Results) -> list[str]:
    """Sentences about results that different machines or versions have computed, or that disagree."""
    attempts = results.attempts
    used = attempts
    if "attempt_id" in results.frame and "attempt_id" in attempts:
        used = attempts[attempts["attempt_id"].isin(results.frame["attempt_id"])]
    said = []
    for column, nouns in _TOLD_APART.items():
        values = [str(value) for value in used[column].drop_duplicates()] if column in used else []
        if len(values) > 1:
            kinds = f" ({listed(values)})" if column in ("device", "threads", "host") else ""
            said.append(f"The numbers come from {len(values)} {nouns}{kinds}: sums may differ in their last digits.")
    if len(results.disagreements):
        said.append(
            f"{plural(len(results.disagreements), 'measurement')} came twice with different values; the first is kept."
        )
    return said


def environment_facts(results: Results) -> dict[str, str]:
    """Command and versions of every run, for the foot of the page."""
    attempts = results.attempts
    facts = {}
    if "command" in attempts:
        commands = [str(command) for command in attempts["command"].drop_duplicates()]
        facts["Run by"] = "; ".join(commands)
    if "versions" in attempts:
        versions = [_versions(value) for value in attempts["versions"].drop_duplicates()]
        facts["Run with"] = "; ".join(dict.fromkeys(versions))
    digests = {str(one["model"]): str(one.get("digest", "")) for one in results.plan.get("models", [])}
    if digests:
        facts["Weights"] = ", ".join(f"{model} {value}" for model, value in digests.items())
    return facts


def _versions(value: Any) -> str:
    found = json.loads(value) if isinstance(value, str) else value
    return (
        ", ".join(f"{name} {version}" for name, version in found.items()) if isinstance(found, Mapping) else str(value)
    )
