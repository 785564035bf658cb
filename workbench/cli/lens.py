"""``workbench lens``: what a model would say if it stopped at an earlier layer."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.commands import Commands
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.cli.texts import read_texts, spread

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from workbench.model import HookedModel
    from workbench.probes.lenses import Lens

lens = Commands(help="Train, evaluate and read lenses.", no_args_is_help=True)


class Optimizer(StrEnum):
    """What moves the translators."""

    sgd = "sgd"
    adamw = "adamw"


class Colour(StrEnum):
    """What colours a trajectory."""

    probability = "probability"
    entropy = "entropy"
    kl = "kl"


LensFolder = Annotated[
    Path | None, typer.Option("--lens", metavar="DIR", help="A trained tuned lens; without one, the logit lens alone.")
]


@lens.command("train")
def train(
    model: options.ModelArgument,
    text: options.TextFile,
    save: Annotated[Path, typer.Option("--save", metavar="DIR", help="Where the lens goes.", show_default=False)],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the optimiser.")] = 250,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Windows a step.")] = 16,
    length: options.Length = 256,
    optimizer: Annotated[
        Optimizer, typer.Option("--optimizer", help="sgd: with Nesterov momentum, as in the paper.")
    ] = Optimizer.sgd,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="At the start.", show_default="1 for sgd, 0.001 for adamw")
    ] = None,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of the text to evaluate on, at its end.")] = 0.1,
    windows: Annotated[
        int, typer.Option("--windows", min=1, help="At most that many windows to evaluate on, evenly spread.")
    ] = 32,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps between checkpoints.")] = 25,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in DIR.")] = False,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Train a tuned lens and compare it with the logit lens on text it has not seen.

    Example: workbench lens train zoo:mamba --text speeches.txt --save lens/mamba
    """
    output = Output(json_file)
    read = read_texts(text)
    opened = open_model(output, model, loading)
    from workbench.probes import lenses

    training_windows, test = lenses.split_windows(lenses.text_windows(opened, read, length), held_out)
    test = spread(test, windows)
    chosen = lenses.TunedLensOptions(
        steps=steps, rows=batch, optimizer=optimizer.value, learning_rate=learning_rate, seed=seed
    )
    training = lenses.train_tuned_lens(
        opened,
        training_windows,
        chosen,
        checkpoint=save / "training.pt",
        every=every,
        resume=resume,
        progress=output.progress,
    )
    lenses.save_tuned_lens(training.lens, save, loading.revision)
    both = [lenses.LogitLens(training.lens.unembedding), training.lens]
    table = lenses.evaluate_lenses(both, test, seed=seed, progress=output.progress)
    _print(output, opened, table, f"{len(test)} held-out windows of {length} tokens")
    output.wrote(save)
    output.save({"model": summary(opened), "lens": str(save), "steps": steps, "depths": records(table)})


@lens.command("eval")
def evaluate(
    model: options.ModelArgument,
    text: options.TextFile,
    lens_folder: LensFolder = None,
    length: options.Length = 256,
    windows: options.Windows = 32,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Say how well lenses guess the model's answers, a depth each, on text they were not trained on.

    Example: workbench lens eval zoo:mamba --lens lens/mamba --text other.txt --out curves.html
    """
    output = Output(json_file, html_file)
    read = read_texts(text)
    opened = open_model(output, model, loading)
    from workbench.probes import lenses

    rows = spread(lenses.text_windows(opened, read, length), windows)
    table = lenses.evaluate_lenses(_lenses(opened, lens_folder), rows, seed=seed, progress=output.progress)
    _print(output, opened, table, f"{len(rows)} windows of {length} tokens")
    output.save({"model": summary(opened), "depths": records(table)})
    if html_file is not None:
        from workbench.report import Page, Plot

        measures = ["kl", "bits_per_byte" if "bits_per_byte" in table else "bits_per_token", "precision@1"]
        blocks = [
            Plot(lenses.depth_curves(table, measure), f"{measure}, with 95 % intervals over windows of text.", "wide")
            for measure in measures
        ]
        title = f"Lenses on {opened.cfg.model_name}"
        lead = f"How far each depth is from what the model says in the end, on {len(rows)} windows of text."
        output.write_page(Page(title, lead, blocks, facts(Text=str(text))))


@lens.command("show")
def show(
    model: options.ModelArgument,
    prompt: options.PromptArgument,
    lens_folder: LensFolder = None,
    colour: Annotated[Colour, typer.Option("--colour", help="What the colour shows.")] = Colour.probability,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Show the likeliest next token of every depth and token of a prompt.

    Example: workbench lens show zoo:mamba "My fellow citizens of the" --out trajectory.html
    """
    output = Output(json_file, html_file)
    opened = open_model(output, model, loading)
    from workbench.probes import lenses

    found = [lenses.trajectory(one, prompt) for one in _lenses(opened, lens_folder)]
    for one in found:
        output.console.print(f"{one.lens}: the likeliest next token after the last one", highlight=False, markup=False)
        output.console.print(_last_words(one))
    output.save(
        {
            "model": summary(opened),
            "prompt": prompt,
            "trajectories": [{"lens": one.lens, "cells": records(one.table())} for one in found],
        }
    )
    if html_file is not None:
        from workbench.report import Heading, Page, Plot

        blocks: list[Any] = []
        for one in found:
            caption = "The likeliest next token at each depth (what so many blocks leave) and each token that was read."
            blocks += [Heading(one.lens.capitalize()), Plot(one.figure(colour.value), caption, "wide")]
        title = f"What {opened.cfg.model_name} would say at each depth"
        output.write_page(Page(title, f"Prompt: {prompt}", blocks, facts(Colour=colour.value)))


def _lenses(model: HookedModel, folder: Path | None) -> list[Lens]:
    from workbench.probes import lenses

    unembedding = lenses.Unembedding(model)
    found: list[Lens] = [lenses.LogitLens(unembedding)]
    if folder is not None:
        found.append(lenses.load_tuned_lens(folder, unembedding))
    return found


def _print(output: Output, model: HookedModel, table: pd.DataFrame, what: str) -> None:
    from rich.table import Table

    shown = Table(padding=(0, 0, 0, 1))
    shown.add_column("depth", justify="right")
    byte = "bits_per_byte" if "bits_per_byte" in table else "bits_per_token"
    names = list(dict.fromkeys(table["lens"]))
    for name in names:
        for measure in ("KL", byte.replace("_", " "), "agree"):
            # Seven columns fit into 80 characters; one too wide goes on below, as cut short it would lose its end.
            width = 17 if measure == "KL" else 6
            title = f"{name.removesuffix(' lens')}: {measure}"
            shown.add_column(title, justify="right", width=width, overflow="fold")
    for depth, rows in table.groupby("depth"):
        by = {row["lens"]: row for row in records(rows)}
        cells = [
            cell
            for name in names
            for cell in (
                _divergence(by[name]),
                f"{by[name][byte]:.2f}",
                f"{by[name]['precision@1']:.0%}",
            )
        ]
        shown.add_row(str(depth), *cells)
    output.console.print(f"{model.cfg.model_name}: lenses on {what}", highlight=False, markup=False)
    output.console.print(shown)
    output.console.print("KL to the model in nats, with its 95 % interval; the last depth is the model itself.")


def _divergence(row: dict[str, Any]) -> str:
    """With its interval, as short as 80 columns need; a single window of text has no interval."""
    low, high = row["kl_low"], row["kl_high"]
    return _short(row["kl"]) + ("" if math.isnan(low) else f" ({_short(low)}–{_short(high)})")


def _short(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _last_words(shown: Any) -> Table:
    """The last token's column of a trajectory."""
    from rich.markup import escape
    from rich.table import Table

    from workbench.figures import visible_token

    table = Table()
    for name in ("depth", "next token", "probability", "entropy", "KL"):
        table.add_column(name, justify="left" if name == "next token" else "right")
    for depth in range(len(shown.words)):
        table.add_row(
            str(depth),
            escape(visible_token(shown.words[depth][-1])),
            f"{float(shown.probability[depth, -1]):.3f}",
            f"{float(shown.entropy[depth, -1]):.3f}",
            f"{float(shown.kl[depth, -1]):.3f}",
        )
    return table
