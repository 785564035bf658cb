"""A study as one page, with its data beside it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from workbench.report import Block, Code, Heading, Page, Paragraph, Table, check_writable, write_page
from workbench.studies.report.families import family_blocks
from workbench.studies.report.numbers import listed, plural
from workbench.studies.report.ranked import main_metrics
from workbench.studies.report.running import attempt_blocks, coverage_blocks, environment_facts
from workbench.studies.report.wording import asked, kind_text, lead, method_of_judging, overview
from workbench.studies.schema.study import Study
from workbench.studies.schema.writing import study_text
from workbench.studies.statistics.effects import effects_table
from workbench.studies.statistics.interactions import interactions_table
from workbench.studies.statistics.layers import layers_table
from workbench.studies.statistics.results import Results
from workbench.studies.statistics.samples import judged_split
from workbench.studies.store.exporting import write_table


def write_report(
    results: Results, path: Path, *, facts: Mapping[str, str] | None = None, effects: pd.DataFrame | None = None
) -> list[Path]:
    """Write a study's page, and beside it its effects and its units, each as CSV and Parquet.

    Args:
        path: of the page; the data are called after it: ``report.effects.csv``, ``report.units.parquet``.
        facts: more for the foot of the page, such as the command that made it.
        effects: of `effects_table`, where it is at hand.

    Returns:
        Every file that was written, each whole: the page first.

    Raises:
        InputError: a file cannot be written.
    """
    data = {path.with_suffix(f".{what}.{kind}"): what for what in ("effects", "units") for kind in ("csv", "parquet")}
    for file in (path, *data):
        check_writable(file)
    effects = effects_table(results) if effects is None else effects
    tables = {"effects": effects, "units": results.frame}
    for file, what in data.items():
        write_table(tables[what], file)
    write_page(path, study_page(results, effects, [file.name for file in data], facts or {}))
    return [path, *data]


def study_page(results: Results, effects: pd.DataFrame, data: list[str], facts: Mapping[str, str]) -> Page:
    """The page, from effects that are at hand."""
    study = results.study
    return Page(
        title=study.name,
        lead=f"{study.question} {lead(study, effects)}".strip(),
        blocks=list(_blocks(results, effects)),
        facts={
            "Study": str(results.folder),
            "Seed": str(study.seed),
            **environment_facts(results),
            **({"Data": ", ".join(data)} if data else {}),
            **facts,
        },
    )


def _blocks(results: Results, effects: pd.DataFrame) -> Iterator[Block]:
    study = results.study
    yield from _asked(study)
    columns, rows = overview(study, effects)
    if rows:
        yield Heading("What was found")
        yield Table(columns, rows, "", frozenset({3, 5}))
    pairs, layers = interactions_table(results), layers_table(results)
    metrics = main_metrics(study)
    for entry in study.edits:
        own = [table[table["family"] == entry.name] for table in (effects, pairs, layers)]
        if len(own[0]):
            yield from family_blocks(study, entry, metrics[entry.name], *own)
    yield from coverage_blocks(results, effects)
    yield from attempt_blocks(results)
    yield Heading("How the numbers were made")
    yield Paragraph(method_of_judging(study, judged_split(results.frame)))
    for kind, used in (("Metric", study.metrics), ("Method", [entry.method for entry in study.edits])):
        for text, meaning in {kind_text(one): _meaning(one) for one in used}.items():
            yield Paragraph(f"{kind} {text}: {meaning}")
    yield Heading("The study")
    yield Code(study_text(study))


def _asked(study: Study) -> Iterator[Block]:
    yield Heading("What was asked")
    models = listed([f"{model.label} ({model.id})" if model.label != model.id else model.id for model in study.models])
    inputs = study.inputs.model_dump(mode="json")
    source = next(f"{key} {inputs[key]}" for key in ("task", "text", "prompts") if key in inputs)
    halves = " split into prompts to discover with and prompts to confirm with," if study.inputs.split else ""
    yield Paragraph(
        f"{plural(len(study.models), 'model')}: {models}. Prompts: {source}, at most {inputs['count']},{halves} "
        f"measured by {listed([metric.name for metric in study.metrics])}, edited and unedited."
    )
    columns = ("edits", "sites", "method", "search", "positions", "judged by", "random controls")
    yield Table(columns, [asked(study, entry) for entry in study.edits])


def _meaning(kind: object) -> str:
    return (inspect.getdoc(type(kind)) or "").split("\n\n")[0].replace("\n", " ")
