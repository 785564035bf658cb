"""``workbench task``: which tasks there are, what they look like, how a model does on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.commands import Commands
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

task = Commands(help="List tasks, look at them, and run models on them.", no_args_is_help=True)

SHOWN = "zoo:attention"
Name = Annotated[str, typer.Argument(metavar="TASK", help="A name out of: workbench task list.", show_default=False)]


@task.command("list")
def list_tasks(json_file: options.JsonFile = None) -> None:
    """List the built-in tasks and what each of them measures.

    Example: workbench task list
    """
    output = Output(json_file)
    from workbench.tasks import task_table

    found = task_table()
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    shown.add_column("task", no_wrap=True, style="bold")
    shown.add_column("what it is")
    shown.add_column("what it measures")
    for row in records(found):
        shown.add_row(Text(row["task"]), Text(row["summary"]), Text(row["measures"]))
    output.console.print(shown)
    output.save({"tasks": records(found)})


@task.command("show")
def show(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] TASK",
            help=f"A name out of: workbench task list; before it, whose tokens are shown, or else {SHOWN}'s.",
            show_default=False,
        ),
    ],
    settings: options.Settings = None,
    sequences: Annotated[int, typer.Option("--sequences", min=1, help="Sequences to print.")] = 2,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Print a task's options and some of its sequences, with what is scored and where the answers stand.

    Example: workbench task show passkey --set length=120 --set depth=0.2
    """
    output = Output(json_file)
    from workbench.cli.task_pages import legend, marked, scored_rows, scored_table
    from workbench.cli.task_settings import read_settings
    from workbench.tasks import describe_task, make_task

    if len(names) > 2:
        raise InputError(f"One task is shown at a time, on one model; there are {len(names)} names.")
    model, name = [SHOWN, *names][-2:]
    description = describe_task(name)
    asked = {"seed": seed, **read_settings(name, settings or [])}
    opened = open_model(output, model, options.Loading(device=device, revision=revision, trust_pickle=trust_pickle))
    made = make_task(name, opened, **asked)
    output.console.print(name, style="bold", highlight=False, markup=False)
    output.console.print(f"{description.summary}\nMeasures: {description.measures}.\n", highlight=False, markup=False)
    output.console.print(_option_table(description.table()))
    said = f"Batch of {made.batch}, up to {made.time} tokens long; kinds of position: {', '.join(made.label_names)}."
    output.console.print(f"\n{said}", highlight=False, markup=False)
    output.console.print(legend())
    rows = [scored_rows(made, opened.tokenizer, row) for row in range(min(sequences, made.batch))]
    for number, found in enumerate(rows):
        output.console.print(f"\nSequence {number + 1}", style="bold", highlight=False)
        output.console.print(marked(made, opened.tokenizer, number))
        output.console.print(scored_table(found))
    shown = [
        {
            "tokens": made.tokens[row].tolist(),
            "text": None if made.text is None else made.text[row],
            "scored": found,
        }
        for row, found in enumerate(rows)
    ]
    output.save({"task": name, "options": asked, "labels": list(made.label_names), "sequences": shown})


@task.command("eval")
def evaluate_task(
    model: options.ModelArgument,
    name: Name,
    settings: options.Settings = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Sequences a batch.", show_default="the task's")
    ] = None,
    seeds: options.Seeds = 3,
    batch_size: Annotated[
        int | None, typer.Option("--at-once", min=1, help="Sequences a forward pass.", show_default="a batch")
    ] = None,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Run a model on a task: every measure for every kind of position, with intervals over sequences.

    Example: workbench task eval zoo:mamba2 passkey --set length=400 --seeds 3 --out passkey.html
    """
    output = Output(json_file, html_file)
    from workbench.cli.task_settings import read_settings
    from workbench.tasks import describe_task, evaluate

    description = describe_task(name)
    asked = read_settings(name, settings or [])
    if batch is not None:
        asked["batch"] = batch
    first = asked.pop("seed", seed)
    opened = open_model(output, model, loading)
    found = evaluate(
        opened,
        name,
        batch_size=batch_size,
        seeds=range(first, first + seeds),
        progress=output.progress,
        **asked,
    )
    output.console.print(f"{opened.cfg.model_name}: {name}", highlight=False, markup=False)
    output.console.print(_measure_table(found))
    output.console.print(f"{description.summary}", highlight=False, markup=False)
    given = {**asked, "seeds": [first, first + seeds - 1]}
    output.save({"model": summary(opened), "task": name, "options": given, "measures": records(found)})
    if html_file is not None:
        from workbench.cli.task_pages import evaluation_blocks
        from workbench.report import Page

        said = ", ".join(f"{key}={str(value)[:40]}" for key, value in given.items())
        page = Page(
            f"{name} on {opened.cfg.model_name}", description.summary, evaluation_blocks(found), facts(Asked=said)
        )
        output.write_page(page)


def _option_table(found: pd.DataFrame) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    shown.add_column("option", no_wrap=True)
    shown.add_column("default")
    shown.add_column("meaning")
    for row in records(found):
        shown.add_row(Text(row["option"]), Text(row["default"]), Text(row["text"]))
    return shown


def _measure_table(found: pd.DataFrame) -> Table:
    from rich.table import Table
    from rich.text import Text

    from workbench.cli.task_pages import MEASURE_COLUMNS, measure_rows

    shown = Table()
    for column in MEASURE_COLUMNS:
        shown.add_column(column, justify="left" if column in ("positions", "measure") else "right")
    for row in measure_rows(found):
        shown.add_row(*map(Text, row))
    return shown
