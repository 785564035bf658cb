"""``workbench probe``: what can be read from activations; its commands about single units are in `units`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.commands import Commands
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, records
from workbench.cli.probe_output import Layers, data_table, layer_numbers, write_figure
from workbench.cli.units import cells, gates, neurons
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


probe = Commands(
    name="probe",
    help="Linear probes on any hook, and statistics of single units.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


class Kind(StrEnum):
    """What is fitted."""

    logistic = "logistic"
    ridge = "ridge"
    sparse = "sparse"


@probe.command("fit")
def fit(
    model: options.ModelArgument,
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="A row a text, with a header.", show_default=False)],
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="Column of the labels.")] = "label",
    group_column: Annotated[
        str | None, typer.Option("--group-column", help="Column of the groups that are held out whole.")
    ] = None,
    hook: options.Hook = "resid_post",
    layers: Layers = "all",
    position: options.Position = -1,
    kind: Annotated[
        Kind, typer.Option("--probe", help="logistic: classes; ridge: numbers; sparse: either, with k units.")
    ] = Kind.logistic,
    selection: Annotated[
        str, typer.Option("--select", help="Of sparse: mean_difference, mutual_information, l1 or adaptive.")
    ] = "mean_difference",
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts that are held out in turn.")] = 5,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE.safetensors", help="Write the best layer's probe.")
    ] = None,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Fit a probe for a column of labels, layer by layer, and test it on texts held out in whole groups.

    Example: workbench probe fit zoo:lstm cities.csv --label-column country --layers 0,3 --out probe.html
    """
    output = Output(json_file, html_file)
    texts, labels, groups = _columns(data, text_column, label_column, group_column)
    opened = open_model(output, model, loading)
    import pandas as pd

    from workbench.probes.linear import (
        collect_activations,
        labelled_texts,
        places,
        plot_by_k,
        plot_by_layer,
        probe_sweep,
        sparse_sweep,
    )

    rows = labelled_texts(opened, texts, labels, position=position, groups=groups)
    numbers = layer_numbers(layers)
    if kind is Kind.sparse:
        target = "ridge" if rows.labels.dtype.kind == "f" else "logistic"
        tables = {}
        wanted = places(opened, hook, numbers)
        read = collect_activations(opened, rows, hook, numbers, progress=output.progress)
        best = None
        for place in wanted:
            swept = sparse_sweep(
                read[place.name].values,
                rows.labels,
                target,
                selection=selection,
                groups=rows.groups,
                folds=folds,
                hook=place.name,
                model_name=opened.cfg.model_name,
                seed=seed,
            )
            tables[place.name] = swept.table().assign(
                hook=place.name, asked=place.hook, layer=-1 if place.layer is None else place.layer, head=-1
            )
            for result in swept.results.values():
                best = result if best is None or result.score.mean > best.score.mean else best
        table = pd.concat(tables.values(), ignore_index=True)
        table["units"] = [[*units] for units in table["units"]]
        figure = plot_by_k(tables)
        assert best is not None  # `places` gives at least one
    else:
        sweep = probe_sweep(opened, rows, hook, numbers, kind.value, folds=folds, seed=seed, progress=output.progress)
        table, best, figure = sweep.table(), sweep.best(), plot_by_layer(sweep.table())
    score = "accuracy" if "accuracy" in table else "r2"
    output.console.print(
        f"{opened.cfg.model_name}: {label_column} from {hook}, {len(rows)} texts in {table['groups'].iloc[0]} groups",
        highlight=False,
        markup=False,
    )
    output.console.print(_scores_table(table, score))
    if score == "accuracy":
        output.console.print(f"The commonest label alone gives {table['baseline'].iloc[0]:.3f}.", highlight=False)
    if save is not None:
        best.probe.save(save)
        output.wrote(save)
    output.save({"model": summary(opened), "label": label_column, "probes": records(table)})
    title = f"Probes for {label_column} in {opened.cfg.model_name}"
    lead = f"The best of them has {score} {best.score.mean:.3f} on groups that were held out ({best.probe.hook})."
    write_figure(output, title, lead, figure, f"{score} by layer, on held-out groups, with 95 % intervals.")


probe.command("neurons")(neurons)
probe.command("cells")(cells)
probe.command("gates")(gates)


def _columns(
    file: Path, text_column: str, label_column: str, group_column: str | None
) -> tuple[list[str], list[Any], list[Any] | None]:
    """Texts, labels and groups of a CSV file. Raises InputError where it cannot be read or lacks something."""
    import pandas as pd

    try:
        table = pd.read_csv(file)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{file} cannot be read as CSV: {reason}.") from error
    for column in (text_column, label_column, group_column):
        if column is not None and column not in table.columns:
            raise InputError(f"{file} has no column {column!r}; it has {', '.join(map(str, table.columns))}.")
        if column is not None and table[column].isna().any():
            # The header is line 1.
            line = int(table[column].isna().to_numpy().argmax()) + 2
            raise InputError(f"Line {line} of {file} has nothing in column {column!r}.")
    labels = table[label_column].tolist()
    groups = None if group_column is None else table[group_column].tolist()
    return table[text_column].astype(str).tolist(), labels, groups


def _scores_table(table: pd.DataFrame, score: str) -> Table:
    """Layer (and k) with every score and the interval of the first."""
    front = [name for name in ("layer", "k") if name in table]
    shown = table[front].copy()
    shown[score] = [
        f"{row[score]:.3f} ({row[f'{score}_low']:.3f}–{row[f'{score}_high']:.3f})" for row in records(table)
    ]
    others = [name for name in ("auc", "log_loss", "correlation", "rmse") if name in table]
    return data_table(shown.join(table[others]))
