"""``workbench sae eval``: what autoencoders explain, what a model loses with them, what their features stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.cli.sae.places import FIRST
from workbench.cli.sae.tables import frame_table
from workbench.cli.texts import read_texts, spread
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import HookedModel
    from workbench.saes import SparseAutoencoder

SHOWN = {
    "loss": "loss",
    "kl": "KL",
    "loss_recovered": "recovered",
    "explained_variance": "variance",
    "l0": "L0",
    "dead": "dead",
}


def evaluate(
    model: options.ModelArgument,
    sae: Annotated[
        list[Path],
        typer.Argument(
            metavar="SAE...",
            help="Folders of autoencoders of one place, files of codebooks, or zoo:MODEL/PLACE.",
            show_default=False,
        ),
    ],
    text: options.TextFile,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="pca, random, neurons, or none; may be given again.", show_default="all three"),
    ] = None,
    letters: Annotated[
        bool, typer.Option("--letters", help="Absorption of the letters that words begin with, too.")
    ] = False,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            help="Sparse probes of features and of raw activations, too: capitalised, leading_space, digits, or a "
            "letter, for words that begin with it; may be given again.",
        ),
    ] = None,
    length: options.Length = 128,
    windows: options.Windows = 64,
    first: Annotated[int | None, typer.Option("--first", min=0, help=FIRST, show_default="as SAE was trained")] = None,
    batch: options.Batch = 8,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Judge autoencoders on text, beside PCA, random directions and neurons of the same L0.

    Every other window is what the baselines are fitted on; the others are judged on.

    Example: workbench sae eval zoo:mamba saes/mamba --text speeches.txt --letters --json scores.json
    """
    output = Output(json_file, html_file)
    read = read_texts(text)
    opened = open_model(output, model, loading)
    from workbench.saes import judging

    asked = [name for name in (baseline or judging.BASELINES) if name != "none"]
    saes = _named(sae, {place: _loaded(place, opened) for place in sae})
    rows = spread(judging.token_windows(opened, read, length), windows)
    judgement = judging.judge_sae(
        opened, saes, rows, baselines=asked, first=first, batch=batch, seed=seed, progress=output.progress
    )
    table = judgement.table(seed=seed)
    count = len(judgement.clean_loss)
    place = f"{opened.cfg.model_name} at {judgement.place}"
    told = f"{place}: {count} windows of {length} tokens, baselines of L0 {judgement.k}"
    output.console.print(told, highlight=False, markup=False)
    output.console.print(_table(table))
    output.console.print(
        "Loss and KL in nats a token with the reconstruction spliced in; recovered: of what zero ablation costs; "
        "variance: explained. 95 % intervals."
    )
    found: dict[str, Any] = {"model": summary(opened), "place": judgement.place, "scores": records(table)}
    sections: list[tuple[str, pd.DataFrame]] = []
    if letters:
        for name, one in saes.items():
            absorbed = judging.first_letter_absorption(opened, one, rows, batch=batch, seed=seed)
            shown = absorbed.table(seed=seed)
            of_terminal = ["letter", "tokens", "probe_f1", "splits", "f1", "absorbed", "fraction"]
            sections.append((f"{name}: absorption of first letters", shown[of_terminal]))
            found.setdefault("letters", {})[name] = records(shown)
            found.setdefault("absorbed", {})[name] = records(absorbed.cases())
    for label in probe or []:
        data = judging.labelled_words(opened, rows, label, rows=2000, seed=seed)
        probed = judging.probe_features(opened, saes, data, batch=batch, seed=seed)
        sections.append((f"Sparse probes for {label}", probed[["space", "k", "accuracy", "auc", "baseline"]]))
        found.setdefault("probes", {})[label] = records(probed)
    for title, part in sections:
        output.console.print(title, highlight=False, markup=False)
        output.console.print(frame_table(part, number=".3f"))
    output.save(found)
    if html_file is not None:
        from workbench.report import Heading, Page, Plot

        caption = "With 95 % intervals over windows of text."
        blocks: list[Any] = [Plot(judging.judgement_figure(judgement, seed=seed), caption, "wide"), _block(table)]
        for title, part in sections:
            blocks += [Heading(title), _block(part)]
        lead = f"{told}. Intervals resample windows."
        page = Page(f"Autoencoders of {opened.cfg.model_name}", lead, blocks, facts(Text=str(text)))
        output.write_page(page)


def _loaded(place: Path, model: HookedModel) -> SparseAutoencoder:
    """An autoencoder, or a codebook as one, which its file's name tells."""
    if place.suffix == ".safetensors":
        from workbench.saes import Codebook, CodebookAutoencoder

        return CodebookAutoencoder(Codebook.load(place)).to(model.cfg.device)
    from workbench.saes import load_sae

    return load_sae(place, model=model, device=model.cfg.device)


def _named(places: list[Path], loaded: dict[Path, SparseAutoencoder]) -> dict[str, SparseAutoencoder]:
    """Autoencoders by the names of their folders or files, or by their paths where names are alike."""
    names = [str(place) if str(place).startswith("zoo:") else place.resolve().stem for place in places]
    if len(set(places)) < len(places):
        raise InputError("The same autoencoder is given twice.")
    return {
        str(place) if names.count(name) > 1 else name: loaded[place] for place, name in zip(places, names, strict=True)
    }


def _table(table: pd.DataFrame) -> Any:
    from rich import box
    from rich.table import Table

    # Seven columns, two of them with intervals, have to fit into 80 characters.
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0))
    shown.add_column("", overflow="fold")
    for title in SHOWN.values():
        shown.add_column(title, justify="right", no_wrap=True)
    for row in records(table):
        shown.add_row(row["autoencoder"], *(_cell(row, name) for name in SHOWN))
    return shown


def _cell(row: dict[str, Any], name: str) -> str:
    """A number, and its interval where that is of use to a reader of the terminal."""
    value = row[name]
    if value is None or value != value:
        return ""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    number = f"{value:.{1 if name == 'l0' else 3}f}"
    if name in ("loss_recovered", "explained_variance") and low is not None and low < high:
        number += f" ({low:.2f}–{high:.2f})"
    return number


def _block(table: pd.DataFrame) -> Any:
    """A table of a page."""
    from workbench.report import Table

    rows = [["" if cell != cell else _text(cell) for cell in row.values()] for row in records(table)]
    numeric = frozenset(number for number, kind in enumerate(table.dtypes) if kind.kind in "fi")
    return Table([str(name).replace("_", " ") for name in table], rows, numeric=numeric)


def _text(cell: Any) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
