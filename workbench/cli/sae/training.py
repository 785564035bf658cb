"""``workbench sae train``: an autoencoder or transcoder for any hook of any model, from text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.cli.sae.places import FIRST, Every, SiteHead, site_of
from workbench.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from workbench.saes import SparseAutoencoder, VectorSite


class Architecture(StrEnum):
    """What is trained, by SAELens' names."""

    topk = "topk"
    batchtopk = "batchtopk"
    matryoshka_batchtopk = "matryoshka_batchtopk"
    jumprelu = "jumprelu"
    gated = "gated"
    standard = "standard"


def train(
    model: options.ModelArgument,
    text: options.TextFile,
    folder: Annotated[
        Path,
        typer.Option("--folder", metavar="DIR", help="Where checkpoints and the autoencoder go.", show_default=False),
    ],
    hook: options.Hook = "resid_post",
    layer: options.Layer = 0,
    head: SiteHead = None,
    every: Every = 1,
    rank: Annotated[
        int | None,
        typer.Option(
            "--rank",
            min=1,
            help="Read so many principal components of the vectors (states).",
            show_default="whole vectors",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", metavar="HOOK", help="Predict this hook of the layer: a transcoder.")
    ] = None,
    skip: Annotated[bool, typer.Option("--skip", help="Of a transcoder: a linear map past the features.")] = False,
    architecture: Annotated[
        Architecture, typer.Option("--architecture", help="Kind of autoencoder.")
    ] = Architecture.topk,
    d_sae: Annotated[
        int | None, typer.Option("--d-sae", min=1, help="Features.", show_default="16 times the width")
    ] = None,
    k: Annotated[float, typer.Option("-k", "--k", help="Features a token, of the topk kinds.")] = 32,
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens",
            parser=options.many,
            metavar="<count>",
            help="Tokens to train on; the text is read again as needed.",
            show_default="1e6",
        ),
    ] = 1_000_000,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Vectors a step.")] = 4096,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of Adam.", show_default="by d_sae")
    ] = None,
    sparsity: Annotated[
        float, typer.Option("--sparsity", help="Weight of the L1 or L0 penalty, where there is one.")
    ] = 1.0,
    length: options.Length = 128,
    first: Annotated[int | None, typer.Option("--first", min=0, help=FIRST, show_default="0")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in DIR.")] = False,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Train a sparse autoencoder on a hook while the model reads text; SAELens loads what it writes.

    Example: workbench sae train zoo:mamba --hook resid_post --layer 2 --text speeches --d-sae 2048 --folder sae/mamba
    """
    output = Output(json_file, html_file)
    if not resume and (folder / "training.json").is_file():
        raise InputError(f"{folder} holds a training already; --resume goes on with it, another --folder begins anew.")
    opened = open_model(output, model, loading)
    from workbench.saes import train_sae, training_figure, training_history

    site = site_of(opened, hook, layer, head, every)
    onto = None if target is None else site_of(opened, target, layer, head, every)
    settings: dict[str, Any] = {} if d_sae is None else {"d_sae": d_sae}
    sae = train_sae(
        opened,
        text,
        site,
        target=onto,
        folder=folder,
        length=length,
        progress=output.progress,
        architecture=architecture.value,
        k=int(k) if k == int(k) else k,
        tokens=tokens,
        batch=batch,
        learning_rate=learning_rate,
        sparsity=sparsity,
        skip=skip,
        rank=rank,
        first=first or 0,
        seed=seed,
        device=str(opened.cfg.device),
        **settings,
    )
    history = training_history(folder)
    where = _where(sae, site, onto)
    output.console.print(f"{opened.cfg.model_name}, {where}: {_said(sae)}", highlight=False, markup=False)
    rows = records(history)
    output.console.print(_table(rows))
    output.wrote(folder)
    output.save({"model": summary(opened), "site": where, "folder": str(folder), "history": rows})
    if html_file is not None:
        from workbench.report import Page, Plot

        caption = "Explained variance, loss, features a vector and dead features over the vectors trained on."
        title = f"Training of an autoencoder on {opened.cfg.model_name}"
        blocks: list[Any] = [Plot(training_figure(history), caption, "wide")]
        output.write_page(Page(title, f"{where}: {_said(sae)}", blocks, facts(Folder=str(folder))))


def _where(sae: SparseAutoencoder, site: VectorSite, onto: VectorSite | None) -> str:
    """What is read, of a subspace how much of the vectors lies in it, and what a transcoder predicts of it."""
    held = sae.cfg.details.get("subspace")
    part = "" if held is None else f", in {held['rank']} directions with {held['explained']:.1%} of the variance"
    return f"{site}{part}" if onto is None else f"{site} to {onto}"


def _said(sae: SparseAutoencoder) -> str:
    cfg = sae.cfg
    kept = "" if cfg.k is None else f", {cfg.k} a vector"
    into = f" to {cfg.width_out}" if cfg.transcodes else ""
    return f"{cfg.architecture}, {cfg.d_in}{into} numbers, {cfg.d_sae:,} features{kept}"


def _table(rows: list[dict[str, Any]]) -> Table:
    """A few moments of the training, the first and the last among them."""
    from rich.table import Table

    table = Table()
    for name in ("vectors", "loss", "explained", "L0", "dead", "vectors/s"):
        table.add_column(name, justify="right")
    count = min(6, len(rows))
    before = -1
    for place in range(count):
        at = round(place * (len(rows) - 1) / max(count - 1, 1))
        row = rows[at]
        table.add_row(
            f"{row['vectors']:,}",
            f"{row['loss']:.4g}",
            f"{row['explained_variance']:.1%}",
            f"{row['l0']:.1f}",
            f"{row['dead']:,}",
            f"{_rate(rows, before, at):,.0f}",
        )
        before = at
    return table


def _rate(rows: list[dict[str, Any]], before: int, at: int) -> float:
    """Vectors a second since the row shown before; text is read in stretches, so single rows jump."""
    starts = [0, *(row["vectors"] for row in rows)]
    read = [row["vectors"] - start for row, start in zip(rows, starts, strict=False)][before + 1 : at + 1]
    seconds = sum(
        count / max(row["vectors_per_second"], 0.05) for count, row in zip(read, rows[before + 1 : at + 1], strict=True)
    )
    return float(sum(read) / seconds)
