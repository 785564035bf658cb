"""``workbench demo``: the whole job on the models that come with the workbench."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.models import open_model
from workbench.cli.output import Output, facts
from workbench.errors import InputError, LoadError

if TYPE_CHECKING:
    from workbench.cli.findings import Effort, Findings

REPORT = "report.html"
FIRST = ("attention", "mamba", "mamba2")


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes; made if missing.")] = Path(
        "workbench-demo"
    ),
    members: Annotated[
        str | None,
        typer.Option(
            "--members", metavar="A,B", help="These members of the zoo, or all.", show_default=", ".join(FIRST)
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and random sets: rougher, faster.")] = False,
    features: Annotated[
        bool,
        typer.Option("--features", help="Instead: features of the zoo's autoencoders, on --text or speeches."),
    ] = False,
    text: options.TextInsteadOfPrompt = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    device: options.Device = None,
) -> None:
    """Run the whole job on the zoo: load, find copying heads, ablate them, write a report. Under two minutes.

    Example: workbench demo --out my-first-look
    """
    if features:
        from workbench.cli.demo_features import browse

        return browse(_folder(out), text, json_file, device)
    if text is not None:
        raise InputError("--text is what --features reads; heads are looked for on random tokens.")
    started = time.monotonic()
    report = _folder(out) / REPORT
    output = Output(json_file, report)
    names = _members(members)
    from workbench.cli.findings import QUICK, Effort

    effort = QUICK if quick else Effort()
    found = {name: _one(name, index, len(names), effort, seed, device, output) for index, name in enumerate(names)}
    output.save({"members": [findings.as_json() for findings in found.values()]})
    from workbench.cli.demo_report import page
    from workbench.report import write_page

    asked = f"{effort.seeds} seeds x {effort.batch} sequences for scores, {effort.sequences} for ablations, seed {seed}"
    write_page(report, page(found, facts(Tokens=asked)))
    output.console.print(f"\nThat took {time.monotonic() - started:.0f} s. The report with plots:", highlight=False)
    output.console.print(f"  {report.resolve()}\n", highlight=False, markup=False, soft_wrap=True)
    output.console.print("What to type next:", highlight=False)
    from workbench.cli.demo_report import next_commands

    for line in next_commands(found):
        output.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _one(name: str, index: int, count: int, effort: Effort, seed: int, device: str | None, output: Output) -> Findings:
    """One member: progress while it runs, its table when it is done."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from workbench.cli.demo_report import member_lines, member_table
    from workbench.cli.findings import STEPS, investigate

    model = open_model(output, f"zoo:{name}", options.Loading(device=device))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.errors, transient=True, disable=not output.progress) as progress:
        bar = progress.add_task("", total=STEPS)
        at = 0

        def step(what: str) -> None:
            nonlocal at
            progress.update(bar, description=f"zoo:{name} ({index + 1} of {count}): {what}", completed=at)
            at += 1

        findings = investigate(model, effort, seed, output, step)
    before, after = member_lines(findings)
    output.console.print(f"\n{before}", highlight=False, markup=False)
    output.console.print(member_table(findings))
    output.console.print(after, highlight=False, markup=False)
    return findings


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {out} cannot be made: {error.strerror}.") from error
    return out


def _members(asked: str | None) -> list[str]:
    """Members of the zoo to look at, the first three in the order they are best read."""
    from workbench.zoo.loading import available

    there = available()
    if not there:
        raise LoadError("The zoo is empty: no trained weights are installed; workbench.zoo.recipe trains them.")
    if asked is None:
        return [name for name in FIRST if name in there] or there
    if asked.strip() == "all":
        return sorted(there, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    names = [name.removeprefix("zoo:") for name in asked.replace(" ", ",").split(",") if name]
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        raise InputError(f"The zoo has no member {unknown[0] if unknown else ''!r}; it has {', '.join(there)}.")
    return names
