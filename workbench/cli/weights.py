"""``workbench weights``: a head's circuits in the words of the vocabulary, with no input."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records


class Circuit(StrEnum):
    """What of a head is read."""

    OV = "OV"
    QK = "QK"


def weights(
    model: options.ModelArgument,
    layer: options.Layer = 0,
    head: Annotated[
        int | None,
        typer.Option("--head", help="One head (a channel, in Mamba-1).", show_default="a table of the layer's heads"),
    ] = None,
    circuit: Annotated[Circuit, typer.Option("--circuit", help="OV: what is read and written; QK: who reads whom.")] = (
        Circuit.OV
    ),
    mixer: options.Mixer = 0,
    count: Annotated[int, typer.Option("--vectors", min=1, help="Singular vectors of the head.")] = 3,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of each vector.")] = 8,
    top: options.Top = 10,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Read a head's weights: the tokens of its largest singular vectors, or how large and how copying each head is.

    Example: workbench weights zoo:attention --layer 1 --head 2
    """
    output = Output(json_file, html_file)
    opened = open_model(output, model, loading)
    from rich.table import Table

    from workbench.probes.weights import head_weights, singular_vectors, spectra, spectrum_plot
    from workbench.report import Page, Plot
    from workbench.report import Table as PageTable

    layer = opened.layer_index(layer)
    linear = head_weights(opened, layer, mixer).linear
    bent = [name for name, straight in linear.items() if not straight and (name == "v") == (circuit is Circuit.OV)]
    columns: list[str]
    if head is None:
        table = spectra(opened, circuit.value, mixer=mixer)
        table = table[table["layer"] == layer].sort_values("norm", ascending=False)
        columns = ["site", "norm", "largest", "participation", "copying"]
        rows = [[str(row["site"]), *(f"{row[name]:.3f}" for name in columns[1:])] for row in records(table.head(top))]
        what = f"{circuit.value} circuits of layer {layer}"
    else:
        table = singular_vectors(opened, layer, head, circuit.value, mixer=mixer, count=count, k=tokens)
        columns = ["vector", "singular value", "side", "tokens"]
        rows = [
            [str(direction), f"{value:.3f}", str(side), _shown(part["text"])]
            for (direction, value, side), part in table.groupby(["direction", "singular_value", "side"], sort=False)
        ]
        what = f"{circuit.value} circuit of head {head} of layer {layer}"
    shown = Table()
    for column in columns:
        shown.add_column(column, justify="left" if column in ("site", "side", "tokens") else "right")
    for cells in rows:
        shown.add_row(*cells)
    note = (
        f"The linear part alone: what this mixer makes of its input for {', '.join(bent)} is bent by a convolution or "
        "a non-linearity."
        if bent
        else ""
    )
    output.console.print(f"{opened.cfg.model_name}: {what}", highlight=False, markup=False)
    output.console.print(shown)
    if note:
        output.console.print(note, highlight=False)
    output.save(
        {"model": summary(opened), "circuit": circuit.value, "layer": layer, "linear": linear, "rows": records(table)}
    )
    if html_file is not None:
        caption = "Tokens from the largest score down" if head is not None else "Largest Frobenius norm first"
        blocks = [PageTable(columns, rows, f"{caption}. {note}".strip())]
        if head is None:
            plot = spectrum_plot(table, list(table["site"])[:top])
            page = Page(what, opened.cfg.model_name, [*blocks, Plot(plot, "Singular values by rank.")], facts())
        else:
            page = Page(what, opened.cfg.model_name, blocks, facts())
        output.write_page(page)


def _shown(texts: object) -> str:
    from workbench.figures import visible_token

    return "  ".join(visible_token(str(text)) for text in texts)  # type: ignore[attr-defined]
