"""``workbench probe``: what can be read from activations, and what single units do over a text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from workbench.model import HookedModel
    from workbench.probes.neurons import Corpus
    from workbench.report import Block

probe = typer.Typer(
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


TextFile = Annotated[Path, typer.Option("--text", metavar="FILE", help="Plain text to read.", show_default=False)]
Layers = Annotated[str, typer.Option("--layers", help="all, or numbers: 0,3.")]
Length = Annotated[int, typer.Option("--length", min=2, help="Tokens a window of the text.")]
Windows = Annotated[int, typer.Option("--windows", min=1, help="At most that many windows, evenly spread.")]
Top = Annotated[int, typer.Option("--top", min=1, help="Rows to show.")]
UnitHook = Annotated[str, typer.Option("--hook", help="mlp.hook_post, mixer.hook_head_out, z, resid_post, ...")]


@probe.command("fit")
def fit(
    model: options.ModelArgument,
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="A row a text, with a header.", show_default=False)],
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="Column of the labels.")] = "label",
    group_column: Annotated[
        str | None, typer.Option("--group-column", help="Column of the groups that are held out whole.")
    ] = None,
    hook: Annotated[str, typer.Option("--hook", help="resid_post, mixer.hook_out, mlp.hook_post, z, state, ...")] = (
        "resid_post"
    ),
    layers: Layers = "all",
    position: Annotated[int, typer.Option("--position", help="Token that is read, as an index; -1 is the last.")] = -1,
    kind: Annotated[
        Kind, typer.Option("--kind", help="logistic: classes; ridge: numbers; sparse: either, with k units.")
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
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Fit a probe for a column of labels, layer by layer, and test it on texts held out in whole groups.

    Example: workbench probe fit zoo:lstm cities.csv --label-column country --layers 0,3 --out probe.html
    """
    output = Output(json_file, html_file)
    texts, labels, groups = _columns(data, text_column, label_column, group_column)
    opened = open_model(output, model, device=device, dtype=dtype, revision=revision, trust_pickle=trust_pickle)
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
    numbers = _layers(layers)
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
                "ridge" if target == "ridge" else "logistic",
                selection=selection,  # type: ignore[arg-type] - refused by name where it is no selection
                groups=rows.groups,
                folds=folds,
                hook=place.name,
                model_name=opened.cfg.model_name,
                seed=seed,
            )
            tables[place.name] = swept.table().assign(hook=place.hook, layer=place.layer, head=None)
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
    _page(output, html_file, title, lead, figure, f"{score} by layer, on held-out groups, with 95 % intervals.")


@probe.command("neurons")
def neurons(
    model: options.ModelArgument,
    text: TextFile,
    hook: UnitHook = "mlp.hook_post",
    layers: Layers = "all",
    threshold: Annotated[float, typer.Option("--threshold", help="A unit fires above it.")] = 0.0,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="It fires where its absolute value is above the threshold.")
    ] = False,
    ngrams: Annotated[int, typer.Option("--ngrams", min=1, max=4, help="Longest n-grams to count.")] = 1,
    length: Length = 256,
    windows: Windows = 64,
    top: Top = 10,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Find dead, positional and n-gram units over a text: neurons of MLPs, or channels of any mixer.

    Example: workbench probe neurons zoo:attention --text speech.txt --hook mlp.hook_post --threshold 0.5
    """
    output = Output(json_file, html_file)
    read = _text(text)
    opened = open_model(output, model, device=device, dtype=dtype, revision=revision, trust_pickle=trust_pickle)
    from workbench.probes.neurons import neuron_statistics, read_corpus

    corpus = read_corpus(opened, read, length, most=windows)
    statistics = neuron_statistics(
        opened,
        corpus,
        hook,
        _layers(layers),
        threshold=threshold,
        fires="beyond" if beyond else "above",
        ngrams=range(1, ngrams + 1),
        progress=output.progress,
    )
    table = statistics.table(opened)
    by_layer = table.groupby("layer", dropna=False).agg(
        units=("unit", "size"),
        dead=("dead", "sum"),
        frequency=("frequency", "mean"),
        information=("position_information", "max"),
        **{f"detects {n}-grams": (f"detects_{n}", "sum") for n in range(1, ngrams + 1)},
    )
    said = _corpus_line(opened, corpus)
    output.console.print(said, highlight=False, markup=False)
    output.console.print(_table(by_layer.reset_index()))
    shown = table[~table["dead"]].sort_values("position_information", ascending=False, kind="stable").head(top)
    names = ["layer", "unit", "frequency", "position_information", "covering_1", "ngram_1", "share_1", "rate_1"]
    output.console.print("Units that know the position best (bits):", highlight=False)
    output.console.print(_table(shown[names]))
    few = table[table["covering_1"] > 0].sort_values("covering_1", kind="stable").head(top)
    output.console.print("Units that the fewest tokens make fire:", highlight=False)
    output.console.print(_table(few[names]))
    output.save({"model": summary(opened), "hook": hook, "units": records(table)})
    if html_file is not None:
        from workbench.figures import score_map

        parts = [part["frequency"].to_numpy(dtype="float64") for _, part in table.groupby("layer", dropna=False)]
        figure = score_map(parts, name="firing frequency", unit="unit", full_scale=1.0)
        lead = f"{int(table['dead'].sum())} of {len(table)} units never fire. {said}"
        caption = "Firing frequency of every unit, the first layer at the bottom."
        _page(output, html_file, f"Units of {opened.cfg.model_name}", lead, figure, caption)


@probe.command("cells")
def cells(
    model: options.ModelArgument,
    text: TextFile,
    predicate: Annotated[
        str, typer.Option("--predicate", help="inside_quotes, line_position, word_position, next_is_newline, ...")
    ] = "inside_quotes",
    hook: UnitHook = "z",
    layers: Layers = "all",
    length: Length = 256,
    windows: Windows = 64,
    top: Top = 10,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Find units whose value follows a predicate over the characters of a text, as an LSTM's quote cell does.

    Example: workbench probe cells zoo:lstm --text speech.txt --predicate line_position --out cell.html
    """
    output = Output(json_file, html_file)
    read = _text(text)
    from workbench.probes.neurons import get_predicate

    get_predicate(predicate)  # refused before a model is loaded
    opened = open_model(output, model, device=device, dtype=dtype, revision=revision, trust_pickle=trust_pickle)
    from workbench.probes.neurons import cells_that_follow, plot_cell, read_corpus
    from workbench.probes.neurons.streaming import stream_units, unit_places

    corpus = read_corpus(opened, read, length, most=windows)
    table = cells_that_follow(opened, corpus, predicate, hook, _layers(layers), seed=seed, progress=output.progress)
    found = int(table["follows"].sum())
    said = f"{found} of {len(table)} units follow {predicate}. {_corpus_line(opened, corpus)}"
    output.console.print(said, highlight=False, markup=False)
    output.console.print(_table(table.head(top)))
    output.save({"model": summary(opened), "predicate": predicate, "units": records(table)})
    if html_file is not None:
        first = records(table.head(1))[0]
        (place,) = unit_places(opened, first["hook"], None if first["layer"] is None else [int(first["layer"])])
        _, values = next(iter(stream_units(opened, corpus, [place.name], 1)))
        tokens = opened.to_str_tokens(corpus.counted[0])
        figure = plot_cell(tokens, values[place.name][0, :, int(first["unit"])].numpy())
        caption = f"Unit {first['unit']} of {place.name} over the first window, the strongest of them."
        _page(output, html_file, f"Units of {opened.cfg.model_name} that follow {predicate}", said, figure, caption)


@probe.command("gates")
def gates(
    model: options.ModelArgument,
    text: TextFile,
    layers: Layers = "all",
    length: Length = 256,
    windows: Windows = 64,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Say how often the gates of recurrent layers are shut (below 0.1) and open (above 0.9).

    Example: workbench probe gates zoo:lstm --text speech.txt
    """
    output = Output(json_file, html_file)
    read = _text(text)
    opened = open_model(output, model, device=device, dtype=dtype, revision=revision, trust_pickle=trust_pickle)
    from workbench.probes.neurons import gate_saturation, plot_saturation, read_corpus, saturated_units

    corpus = read_corpus(opened, read, length, most=windows)
    table = gate_saturation(opened, corpus, _layers(layers), progress=output.progress)
    found = saturated_units(table)
    said = _corpus_line(opened, corpus)
    output.console.print(said, highlight=False, markup=False)
    output.console.print(_table(found))
    output.save({"model": summary(opened), "gates": records(found), "units": records(table)})
    caption = "A dot a unit: how often its gate is open, over how often it is shut."
    _page(output, html_file, f"Gates of {opened.cfg.model_name}", said, plot_saturation(table), caption)


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


def _layers(spelled: str) -> list[int] | None:
    if spelled.strip() == "all":
        return None
    try:
        return [int(part) for part in spelled.split(",")]
    except ValueError:
        raise InputError(f"--layers is 'all' or numbers with commas, such as 0,3; got {spelled!r}.") from None


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}).") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error


def _corpus_line(model: HookedModel, corpus: Corpus) -> str:
    windows, time = corpus.tokens.shape
    return f"{model.cfg.model_name} over {windows} windows of {time} tokens."


def _scores_table(table: pd.DataFrame, score: str) -> Table:
    """Layer (and k) with every score and the interval of the first."""
    front = [name for name in ("layer", "k") if name in table]
    shown = table[front].copy()
    shown[score] = [
        f"{row[score]:.3f} ({row[f'{score}_low']:.3f}–{row[f'{score}_high']:.3f})" for row in records(table)
    ]
    others = [name for name in ("auc", "log_loss", "correlation", "rmse") if name in table]
    return _table(shown.join(table[others]))


def _table(frame: pd.DataFrame) -> Table:
    """A DataFrame on a terminal: three digits, booleans as words, text as it is and no markup."""
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for name in frame.columns:
        shown.add_column(str(name).replace("_", " "), justify="right")
    for row in records(frame):
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"{value:.3f}"


def _page(output: Output, file: Path | None, title: str, lead: str, figure: Any, caption: str) -> None:
    if file is None:
        return
    from workbench.report import Page, Plot, write_page

    blocks: list[Block] = [Plot(figure, caption, "wide")]
    write_page(file, Page(title, lead, blocks, facts()))
    output.wrote(file)
