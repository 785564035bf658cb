"""``workbench sae codebook``: a discrete bottleneck for any hook, trained from text, and what its codes stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, records
from workbench.cli.sae.places import Every, SiteHead, site_of
from workbench.cli.sae.tables import frame_table
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def codebook(
    model: options.ModelArgument,
    text: options.TextFile,
    save: Annotated[
        Path,
        typer.Option("--save", metavar="FILE.safetensors", help="Where the codebook goes.", show_default=False),
    ],
    hook: options.Hook = "resid_post",
    layer: options.Layer = 0,
    head: SiteHead = None,
    every: Every = 1,
    codes: Annotated[int, typer.Option("--codes", min=1, help="Codes there are.")] = 1024,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Codes a vector.")] = 8,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of training, a batch of vectors each.")] = 500,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Vectors a step.")] = 4096,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Of Adam, in units of the codes' mean norm.")
    ] = 1e-3,
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens", parser=options.many, metavar="<count>", help="Tokens that the table of codes is made of."
        ),
    ] = 50_000,
    length: options.Length = 128,
    top: options.Top = 10,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Train a codebook: every vector at a hook becomes the sum of k out of so many codes, and nothing else is left.

    The model stays as it is. workbench sae eval takes the file as it takes autoencoders.

    Example: workbench sae codebook zoo:mamba --layer 1 --text speeches --codes 512 --save book.safetensors
    """
    output = Output(json_file)
    if save.suffix != ".safetensors":
        raise InputError(f"{save} is to be a .safetensors file, by its name, too; eval tells a codebook by that.")
    from workbench.report import check_writable

    check_writable(save)
    opened = open_model(output, model, loading)
    from workbench.saes import TextSource, code_table, train_codebook

    site = site_of(opened, hook, layer, head, every)
    book = train_codebook(
        opened,
        text,
        site,
        codes,
        k,
        batch=batch,
        length=length,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        progress=output.progress,
    )
    book.save(save)
    table = code_table(opened, book, TextSource(text, length, seed=seed), tokens=tokens, progress=output.progress)
    unused = int((table["count"] == 0).sum())
    output.console.print(
        f"{opened.cfg.model_name}, {site}: {codes} codes of {book.d_in} numbers, {k} a vector; {unused} are chosen at "
        f"none of about {tokens:,} tokens.",
        highlight=False,
        markup=False,
    )
    output.console.print(frame_table(_shown(table.head(top))))
    output.wrote(save)
    output.save({"model": summary(opened), "site": str(site), "codebook": str(save), "codes": records(table)})


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """What of the codes fits into a line each."""
    return table.assign(tokens=[some[:4] for some in table["tokens"]])[["code", "share", "tokens", "example"]]
