"""``workbench sae features``: every feature of an autoencoder over a text, collected, shown, searched and labelled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from workbench.cli import options
from workbench.cli.commands import Commands
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, records
from workbench.cli.sae.places import FIRST
from workbench.cli.sae.tables import frame_table, shown_cell
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

    from workbench.saes import Example, FeatureStore

COLLECT = "collect"


class Where(StrEnum):
    """What is searched."""

    all = "all"
    labels = "labels"
    examples = "examples"


class CollectByDefault(TyperGroup):
    """What begins with no command's name is what the first command takes: ``features MODEL SAE --text ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [COLLECT, *args]
        return super().parse_args(ctx, args)


features = Commands(
    cls=CollectByDefault,
    no_args_is_help=True,
    help="Features of an autoencoder over a text. MODEL SAE --text PATH --folder OUT collects them; then show, search, "
    "label and explain.",
)

StoreArgument = Annotated[
    Path, typer.Argument(metavar="STORE", help="Folder that features were collected into.", show_default=False)
]
FeatureArgument = Annotated[
    int, typer.Argument(metavar="FEATURE", min=0, help="Number of the feature.", show_default=False)
]


@features.command(COLLECT)
def collect(
    model: options.ModelArgument,
    sae: Annotated[
        Path,
        typer.Argument(
            metavar="SAE", help="Folder of an autoencoder: SAELens' or sparsify's layout.", show_default=False
        ),
    ],
    text: options.TextFile,
    folder: Annotated[Path, typer.Option("--folder", metavar="OUT", help="Where the features go.", show_default=False)],
    length: Annotated[int, typer.Option("--length", min=2, help="Tokens a window of the text.")] = 128,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens", parser=options.many, metavar="<count>", help="Read so many tokens.", show_default="all"
        ),
    ] = None,
    first: Annotated[int | None, typer.Option("--first", min=0, help=FIRST, show_default="as SAE was trained")] = None,
    shard: Annotated[int, typer.Option("--shard", min=1, help="Tokens that are committed at once.")] = 65536,
    windows: Annotated[int, typer.Option("--batch", min=1, help="Rows a forward pass.")] = 16,
    neurons: Annotated[
        str | None,
        typer.Option("--neurons", metavar="HOOK", help="Correlate with the neurons of a hook, read in the same pass."),
    ] = None,
    disk_budget: Annotated[
        float | None,
        typer.Option("--disk-budget", metavar="GB", help="Gigabytes that OUT may take.", show_default="the disk's"),
    ] = None,
    top: options.Top = 10,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Collect features: one pass over a text, into a folder; a killed one goes on where it was.

    Example: workbench sae features zoo:mamba saes/mamba --text speeches.txt --folder features/mamba
    """
    output = Output(json_file)
    opened = open_model(output, model, loading)
    from workbench.saes import TextSource, collect_features, load_sae

    loaded = load_sae(sae)
    store = collect_features(
        opened,
        loaded,
        TextSource(text, length, seed=None),
        folder,
        tokens=tokens,
        first=int(loaded.cfg.details.get("first", 0)) if first is None else first,
        shard_tokens=shard,
        windows=windows,
        neurons=neurons,
        seed=seed,
        disk_budget=None if disk_budget is None else int(disk_budget * 1e9),
        progress=output.progress,
    )
    info, table = store.info, store.features()
    output.console.print(
        f"{info.d_sae} features of {info.model} at {info.site} over {info.tokens} tokens: {info.dead} dead, "
        f"{float(table['density'].sum()):.1f} fire at a token.",
        highlight=False,
        markup=False,
    )
    best = table.sort_values("max", ascending=False).head(top)
    shown = best[["feature", "label", "density", "max"]].assign(tokens=_tokens(store, best["feature"]))
    output.console.print(frame_table(_without_blank(shown)))
    output.save({"model": summary(opened), "store": vars(info), "features": records(table)})


@features.command("show")
def show(
    store: StoreArgument,
    feature: FeatureArgument,
    band: Annotated[
        str | None, typer.Option("--band", help="top, 75-100%, ..., random or silent.", show_default="all but silent")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Examples of each band.")] = 3,
    json_file: options.JsonFile = None,
) -> None:
    """One feature: its label, statistics, logit effects, top tokens, neighbours and examples.

    Example: workbench sae features show features/mamba 12
    """
    output = Output(json_file)
    opened = _open(store)
    table = opened.features()
    if feature >= len(table):
        raise InputError(f"There is no feature {feature}; they go from 0 to {len(table) - 1}.")
    one = table.loc[[feature]]
    found = opened.examples(feature, band, examples)
    found = [example for example in found if band is not None or example.band != "silent"]
    tables = {
        "logits": opened.logits(feature),
        "top_tokens": opened.top_tokens(feature),
        "histogram": opened.histogram(feature),
        "neighbours_by_decoder": opened.neighbours(feature),
        "neighbours_by_firing": opened.neighbours(feature, "firing"),
        "neurons": opened.neurons(feature),
    }
    output.console.print(_headline(one.iloc[0], opened.info.tokens), highlight=False, markup=False)
    for name in ("logits", "top_tokens", "neighbours_by_firing", "neighbours_by_decoder"):
        if len(tables[name]):
            rows = tables[name] if name == "logits" else tables[name].head(5)
            output.console.print(frame_table(_without_blank(rows), title=name.replace("_", " ")))
    for example in found:
        output.console.print(_line(example))
    output.save(
        {
            "feature": records(one)[0],
            **{name: records(rows) for name, rows in tables.items()},
            "examples": [vars(example) for example in found],
        }
    )


@features.command("search")
def search(
    store: StoreArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, as it stands.", show_default=False)],
    where: Annotated[Where, typer.Option("--where", help="What is searched.")] = Where.all,
    case: Annotated[bool, typer.Option("--case", help="Upper and lower case differ.")] = False,
    top: options.Top = 10,
    json_file: options.JsonFile = None,
) -> None:
    """Features whose label or examples hold a text; those that fire on it first.

    Example: workbench sae features search features/mamba " government"
    """
    output = Output(json_file)
    found = _open(store).search(text, where.value, case=case, limit=top)
    output.console.print(frame_table(_without_blank(found)) if len(found) else "No feature holds it.")
    output.save({"text": text, "features": records(found)})


@features.command("label")
def label(
    store: StoreArgument,
    feature: Annotated[
        int | None, typer.Argument(metavar="[FEATURE]", min=0, help="Number of the feature.", show_default=False)
    ] = None,
    text: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", help="What it is called.", show_default=False)
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the feature's label away.")] = False,
    load: Annotated[
        Path | None, typer.Option("--load", metavar="FILE", help="Take over labels of a .json or .csv file.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all labels as .json or .csv.")
    ] = None,
    json_file: options.JsonFile = None,
) -> None:
    """Call a feature something, or see, load and export labels.

    Example: workbench sae features label features/mamba 12 "names of months"
    """
    output = Output(json_file)
    labels = _open(store).labels
    if load is not None:
        output.note(f"{labels.load(load)} labels of {load} stand.")
    if feature is not None and remove:
        labels.remove(feature)
    elif feature is not None and text is not None:
        labels.set(feature, text)
    elif remove:
        raise InputError("Say which feature's label goes: label STORE FEATURE --remove.")
    if export is not None:
        labels.export(export)
        output.wrote(export)
    table = labels.table() if feature is None else labels.history(feature)
    output.console.print(frame_table(table.dropna(axis="columns", how="all")) if len(table) else "There are no labels.")
    output.save({"labels": records(table)})


@features.command("explain")
def explain(
    store: StoreArgument,
    feature: Annotated[
        list[int] | None,
        typer.Argument(metavar="[FEATURE]...", min=0, help="All that have no label by hand.", show_default=False),
    ] = None,
    top: options.Top = 10,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
) -> None:
    """Label features by the tokens they fire at, and score the labels by detection and fuzzing.

    Example: workbench sae features explain features/mamba 12 13
    """
    output = Output(json_file)
    from workbench.saes.features.explaining import explain_features

    table = explain_features(_open(store), feature or None, seed=seed, progress=output.progress)
    best = table.sort_values("detection", ascending=False).head(top)
    shown = best[["feature", "label"]].assign(
        detection=[_score(row, "detection") for row in records(best)],
        fuzzing=[_score(row, "fuzzing") for row in records(best)],
    )
    output.console.print(frame_table(shown))
    output.console.print(
        "Share of right answers where the label tells texts (detection) and marked tokens (fuzzing) apart, with 95 % "
        "intervals; 0.5 is chance. Nothing: too few texts of either kind."
    )
    output.save({"features": records(table)})


def _open(folder: Path) -> FeatureStore:
    from workbench.saes import FeatureStore

    return FeatureStore(folder)


def _tokens(store: FeatureStore, chosen: pd.Series[int]) -> pd.Series[Any]:
    """The tokens that each of some features fires at most."""
    return chosen.map(lambda one: store.top_tokens(int(one))["token"].head(4).tolist())


def _score(row: dict[str, Any], name: str) -> str:
    """A score and its interval; nothing where there is none."""
    value, low, high = (row[part] for part in (name, f"{name}_low", f"{name}_high"))
    return "" if value != value else f"{value:.2f} ({low:.2f}–{high:.2f})"


def _without_blank(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the column of labels where no feature has one."""
    blank = "label" in table and not (table["label"] != "").any()
    return table.drop(columns="label") if blank else table


def _headline(one: pd.Series[Any], tokens: int) -> str:
    named = f"Feature {one['feature']}" + (
        f", {shown_cell('label', one['label'])} ({one['source']})" if one["label"] else ""
    )
    if one["dead"]:
        return f"{named} is dead: it fires at none of {tokens} tokens."
    quartiles = ", ".join(f"{one[name]:.4g}" for name in ("q25", "q50", "q75"))
    return (
        f"{named}: fires at {one['count']} of {tokens} tokens ({one['density']:.3%}), at most {one['max']:.4g}; where "
        f"it fires mean {one['mean']:.4g}, quartiles {quartiles}."
    )


def _line(example: Example) -> Text:
    """An example in a line, what fires in it bold and its peak between marks, which need no colours."""
    from rich.text import Text

    from workbench.figures.tokens import visible_token

    line = Text(f"{example.band:>8} {example.value:9.3g}  ")
    for at, (token, value) in enumerate(zip(example.tokens, example.activations, strict=True)):
        shown = "" if not token else visible_token(token).replace("·", " ")
        peak = at == example.peak and value > 0
        word = shown.lstrip(" ")
        blank = shown[: len(shown) - len(word)]
        line.append(f"{blank}«{word}»" if peak else shown, style="bold" if value > 0 else "")
    return line
