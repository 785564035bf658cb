"""``workbench attention``: who reads from whom in a text, in one layer; without a layer, how every head reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workbench.cli import attention_statistics, options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts
from workbench.cli.texts import given_text
from workbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.cli.pictures import Picture
    from workbench.families.base import MixerAdapter
    from workbench.model import HookedModel

SHOWN_LINKS = 10
LONGEST_MATRIX = 2048
MOST_JSON_ENTRIES = 1_000_000


def attention(
    model: options.ModelArgument,
    prompt: options.PromptOrFile = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Layer, from 0; -1 is the last.", show_default="statistics of every layer"),
    ] = None,
    text: options.TextInsteadOfPrompt = None,
    head: Annotated[
        int | None,
        typer.Option("--head", help="One head (a channel, in Mamba-1).", show_default="all, or the strongest"),
    ] = None,
    mixer: Annotated[
        int | None,
        typer.Option(
            "--mixer",
            min=0,
            help="Which of a layer's mixers, where it has several (Falcon-H1).",
            show_default="0 with --layer, else all",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--strongest", min=1, help="How many of the strongest, where there are too many heads.")
    ] = 8,
    scope: Annotated[
        options.Scope | None,
        typer.Option(
            "--scope",
            help="mixer: from token to output, convolution and gate included; core: the recurrence.",
            show_default="mixer with --layer, else core",
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Refuse longer texts.", show_default="2048 with --layer"),
    ] = None,
    reductions: Annotated[
        str,
        typer.Option(
            "--statistics",
            help="Without --layer: which of mass, energy, entropy, mean_distance_by_mass, mean_distance_by_energy, "
            "top, histogram. The energies alone take time linear in the text, all others its square.",
        ),
    ] = attention_statistics.REDUCTIONS,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Show which tokens of a text read from which in one layer: attention, or a recurrent layer's implicit attention.

    Without --layer: how much, how spread out and how far back every head of every layer reads.

    Example: workbench attention zoo:mamba "the cat sat. the cat" --layer 2 --out cat.html
    """
    output = Output(json_file, html_file)
    read = given_text(prompt, text)
    opened = open_model(output, model, loading)
    if layer is None and head is not None:
        raise InputError("--head names a head of one layer; say which with --layer.")
    adapter = None if layer is None else opened.mixer(layer, 0 if mixer is None else mixer)
    tokens = opened.to_tokens(read)
    most = LONGEST_MATRIX if most is None and adapter is not None else most
    if most is not None and tokens.shape[1] > most:
        raise InputError(
            f"The text has {tokens.shape[1]:,} tokens, and the limit is {most:,}; shorten it or raise --max-tokens."
        )
    if adapter is None:
        seen: Literal["core", "mixer"] = "core" if scope is None else scope.value
        attention_statistics.statistics(opened, tokens, reductions, mixer, seen, top, output)
        return
    _one_layer(opened, adapter, tokens, head, top, "mixer" if scope is None else scope.value, output)


def _one_layer(
    opened: HookedModel,
    adapter: MixerAdapter,
    tokens: Tensor,
    head: int | None,
    top: int,
    scope: Literal["core", "mixer"],
    output: Output,
) -> None:
    """The matrices of one mixer."""
    import torch

    from workbench.cli import pictures

    names = opened.to_str_tokens(tokens[0])
    with torch.no_grad():
        found = opened.implicit_attention(tokens, adapter.layer, scope=scope, mixer=adapter.index)
        error = found.check()
        shown = pictures.pictures(opened, found, adapter.layer, head, top, output)
    title = f"{adapter.place.capitalize()} of {opened.cfg.model_name}: who reads from whom"
    exact = (
        f"A {adapter.family} layer, {scope} scope. These weights times the recorded values give the layer's own "
        f"output with a relative error of {error:.1e}."
    )
    output.console.print(f"{title}\nStrongest links to other tokens but the first: {shown[0].label}", markup=False)
    output.console.print(_links_table(shown[0], names))
    output.console.print(exact, highlight=False, markup=False)
    if output.html_file is None and output.json_file is None:
        output.note("Add --out FILE.html for the heat maps.")
    output.save(
        {
            "model": summary(opened),
            "layer": adapter.layer,
            "mixer": adapter.index,
            "scope": scope,
            "check": error,
            "tokens": names,
            "matrices": [_json(picture, names) for picture in shown],
        }
    )
    if output.html_file is not None:
        from workbench.report import Page, Paragraph

        blocks = [
            pictures.view(shown, names),
            Paragraph(
                "A row is a token that reads, a column a token that is read; the hatched half is the future. In the "
                "text, colours show the chosen token's row."
            ),
            _links_block(shown[0], names),
        ]
        output.write_page(Page(title, exact, blocks, facts(Model=opened.cfg.model_name)))


def _link_rows(picture: Picture, names: list[str]) -> list[tuple[str, str, str]]:
    from workbench.figures import visible_token

    return [
        (f"{row} {visible_token(names[row])}", f"{column} {visible_token(names[column])}", f"{weight:.3g}")
        for row, column, weight in picture.links(SHOWN_LINKS)
    ]


def _links_table(picture: Picture, names: list[str]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("reads", max_width=32)
    table.add_column("is read", max_width=32)
    table.add_column("weight", justify="right")
    for reader, source, weight in _link_rows(picture, names):
        table.add_row(escape(reader), escape(source), weight)
    return table


def _links_block(picture: Picture, names: list[str]) -> Any:
    from workbench.report import Table

    caption = f"Strongest links to other tokens but the first: {picture.label}"
    return Table(("reads", "is read", "weight"), _link_rows(picture, names), caption, frozenset({2}))


def _json(picture: Picture, names: list[str]) -> dict[str, Any]:
    links = [{"reads": row, "is_read": column, "weight": weight} for row, column, weight in picture.links(SHOWN_LINKS)]
    small = picture.weights.size <= MOST_JSON_ENTRIES
    return {
        "label": picture.label,
        "caption": picture.caption,
        "links": links,
        "weights": picture.weights.tolist() if small else None,
    }
