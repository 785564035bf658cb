"""``workbench study status``, ``report``, ``compare`` and ``export``: what a study's folder says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.output import Output, facts, records
from workbench.cli.study.options import Folder

if TYPE_CHECKING:
    pass


def status(folder: Folder, json_file: options.JsonFile = None) -> None:
    """Say how far a study is: units done and failed, rate, time left. It may be running meanwhile.

    Example: workbench study status study-runs/induction-heads
    """
    output = Output(json_file)
    from rich.table import Table
    from rich.text import Text

    from workbench.studies.store import study_status

    found = study_status(folder)
    shown = Table(show_header=False, box=None)
    for row in records(found.table()):
        shown.add_row(Text(str(row["what"])), Text(str(row["value"])))
    output.console.print(shown)
    output.save({**asdict(found), "folder": str(found.folder), "coverage": dict(found.coverage)})


def report(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="The page.", show_default="FOLDER/report/report.html"),
    ] = None,
    top: options.Top = 10,
    json_file: options.JsonFile = None,
) -> None:
    """Say what a study found: effects with intervals and tests, here and as one page with the data beside it.

    Example: workbench study report study-runs/induction-heads
    """
    page = out or folder / "report" / "report.html"
    output = Output(json_file, out)
    from workbench.studies.report import effects_table, effects_text, write_report
    from workbench.studies.store import read_results

    results = read_results(folder)
    effects = effects_table(results)
    output.console.print(effects_text(results, top, effects))
    if out is None:
        page.parent.mkdir(exist_ok=True)
    for file in write_report(results, page, facts=facts(), effects=effects):
        output.wrote(file)
    output.save({"study": results.study.name, "coverage": dict(results.coverage), "effects": records(effects)})


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A study's folder.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another's.", show_default=False)],
    top: options.Top = 10,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
) -> None:
    """Hold two studies side by side: the same edits, and how much more they do in B than in A.

    Example: workbench study compare study-runs/attention study-runs/mamba --out compared.html
    """
    output = Output(json_file, html_file)
    from workbench.studies.report import compare_studies, comparison_text, write_comparison
    from workbench.studies.store import read_results

    first, second = read_results(a), read_results(b)
    found = compare_studies(first, second)
    output.console.print(comparison_text(found, top))
    output.save({"a": str(a), "b": str(b), "differences": records(found)})
    if html_file is not None:
        for file in write_comparison(first, second, html_file, facts=facts(), differences=found):
            output.wrote(file)


def export(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="A .parquet or .csv file, or a folder for both and the record of attempts.",
            show_default="FOLDER/export",
        ),
    ] = None,
    json_file: options.JsonFile = None,
) -> None:
    """Write a study's results as Parquet and CSV, one row a unit and metric.

    Example: workbench study export study-runs/induction-heads --out effects.csv
    """
    output = Output(json_file)
    from workbench.studies.store import export_results

    files = export_results(folder, out or folder / "export")
    for file in files:
        output.wrote(file)
    output.save({"files": [str(file) for file in files]})
