"""``workbench probe neurons``, ``cells`` and ``gates``: what single units do over a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, records
from workbench.cli.probe_output import Layers, data_table, layer_numbers, write_figure
from workbench.cli.texts import read_texts

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.probes.neurons import Corpus


def neurons(
    model: options.ModelArgument,
    text: options.TextFile,
    hook: options.Hook = "mlp.hook_post",
    layers: Layers = "all",
    threshold: Annotated[float, typer.Option("--threshold", help="A unit fires above it.")] = 0.0,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="It fires where its absolute value is above the threshold.")
    ] = False,
    ngrams: Annotated[int, typer.Option("--ngrams", min=1, max=4, help="Longest n-grams to count.")] = 1,
    length: options.Length = 256,
    windows: options.Windows = 32,
    top: options.Top = 10,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Find dead, positional and n-gram units over a text: neurons of MLPs, or channels of any mixer.

    Example: workbench probe neurons zoo:attention --text speech.txt --hook mlp.hook_post --threshold 0.5
    """
    output = Output(json_file, html_file)
    read = read_texts(text)
    opened = open_model(output, model, loading)
    from workbench.probes.neurons import neuron_statistics, read_corpus

    corpus = read_corpus(opened, read, length, most=windows)
    statistics = neuron_statistics(
        opened,
        corpus,
        hook,
        layer_numbers(layers),
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
    said = corpus_line(opened, corpus)
    output.console.print(said, highlight=False, markup=False)
    output.console.print(data_table(by_layer.reset_index()))
    shown = table[~table["dead"]].sort_values("position_information", ascending=False, kind="stable").head(top)
    names = ["layer", "unit", "frequency", "position_information", "covering_1", "ngram_1", "share_1", "rate_1"]
    output.console.print("Units that know the position best (bits):", highlight=False)
    output.console.print(data_table(shown[names]))
    few = table[table["covering_1"] > 0].sort_values("covering_1", kind="stable").head(top)
    output.console.print("Units that the fewest tokens make fire:", highlight=False)
    output.console.print(data_table(few[names]))
    output.save({"model": summary(opened), "hook": hook, "units": records(table)})
    if html_file is not None:
        from workbench.figures import score_map

        parts = [part["frequency"].to_numpy(dtype="float64") for _, part in table.groupby("layer", dropna=False)]
        figure = score_map(parts, name="firing frequency", unit="unit", full_scale=1.0)
        lead = f"{int(table['dead'].sum())} of {len(table)} units never fire. {said}"
        caption = "Firing frequency of every unit, the first layer at the bottom."
        write_figure(output, f"Units of {opened.cfg.model_name}", lead, figure, caption)


def cells(
    model: options.ModelArgument,
    text: options.TextFile,
    predicate: Annotated[
        str, typer.Option("--predicate", help="inside_quotes, line_position, word_position, next_is_newline, ...")
    ] = "inside_quotes",
    hook: options.Hook = "z",
    layers: Layers = "all",
    length: options.Length = 256,
    windows: options.Windows = 32,
    top: options.Top = 10,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Find units whose value follows a predicate over the characters of a text, as an LSTM's quote cell does.

    Example: workbench probe cells zoo:lstm --text speech.txt --predicate line_position --out cell.html
    """
    output = Output(json_file, html_file)
    read = read_texts(text)
    from workbench.probes.neurons import get_predicate

    get_predicate(predicate)  # refused before a model is loaded
    opened = open_model(output, model, loading)
    from workbench.probes.neurons import cells_that_follow, plot_cell, read_corpus
    from workbench.probes.neurons.streaming import stream_units, unit_places

    corpus = read_corpus(opened, read, length, most=windows)
    table = cells_that_follow(
        opened, corpus, predicate, hook, layer_numbers(layers), seed=seed, progress=output.progress
    )
    found = int(table["follows"].sum())
    said = f"{found} of {len(table)} units follow {predicate}. {corpus_line(opened, corpus)}"
    output.console.print(said, highlight=False, markup=False)
    output.console.print(data_table(table.head(top)))
    output.save({"model": summary(opened), "predicate": predicate, "units": records(table)})
    if html_file is not None:
        first = records(table.head(1))[0]
        (place,) = unit_places(opened, first["hook"], None)
        _, values = next(iter(stream_units(opened, corpus, [place.name], 1)))
        tokens = opened.to_str_tokens(corpus.counted[0])
        figure = plot_cell(tokens, values[place.name][0, :, int(first["unit"])].numpy())
        caption = f"Unit {first['unit']} of {place.name} over the first window, the strongest of them."
        write_figure(output, f"Units of {opened.cfg.model_name} that follow {predicate}", said, figure, caption)


def gates(
    model: options.ModelArgument,
    text: options.TextFile,
    layers: Layers = "all",
    length: options.Length = 256,
    windows: options.Windows = 32,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Say how often the gates of recurrent layers are shut (below 0.1) and open (above 0.9).

    Example: workbench probe gates zoo:lstm --text speech.txt
    """
    output = Output(json_file, html_file)
    read = read_texts(text)
    opened = open_model(output, model, loading)
    from workbench.probes.neurons import gate_saturation, plot_saturation, read_corpus, saturated_units

    corpus = read_corpus(opened, read, length, most=windows)
    table = gate_saturation(opened, corpus, layer_numbers(layers), progress=output.progress)
    found = saturated_units(table)
    said = corpus_line(opened, corpus)
    output.console.print(said, highlight=False, markup=False)
    output.console.print(data_table(found))
    output.save({"model": summary(opened), "gates": records(found), "units": records(table)})
    caption = "A dot a unit: how often its gate is open, over how often it is shut."
    write_figure(output, f"Gates of {opened.cfg.model_name}", said, plot_saturation(table), caption)


def corpus_line(model: HookedModel, corpus: Corpus) -> str:
    """What was read, in a sentence."""
    windows, time = corpus.tokens.shape
    return f"{model.cfg.model_name} over {windows} windows of {time} tokens."
