"""``workbench memory``: what a model remembers of a text, in how many bytes, for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.cli.texts import read_texts, spread
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import JustifyMethod
    from rich.table import Table

    from workbench.model import HookedModel
    from workbench.probes.memory import DecayFit

LAGS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def memory(
    model: options.ModelArgument,
    text: options.TextFile,
    length: options.Length = 256,
    windows: options.Windows = 32,
    width: Annotated[int, typer.Option("--width", min=1, help="Positions a bin of the loss.")] = 64,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Say how many bytes a model keeps, how fast it forgets, and how its loss goes with position.

    Example: workbench memory zoo:mamba --text speeches/ --length 1024 --out memory.html
    """
    output = Output(json_file, html_file)
    documents = read_texts(text)
    if length < 8:
        raise InputError(f"--length is {length}; what is remembered is measured over at least 8 tokens.")
    opened = open_model(output, model, loading)
    from workbench.probes import memory as room

    read = spread(room.text_windows(opened, documents, length), windows)
    layers = _layers(opened, read)
    loss = room.loss_by_position(opened, read, width=width, progress=output.progress)
    lags = [lag for lag in LAGS if lag < length]
    function = room.memory_function(opened, read[:4], lags=lags, seed=seed, progress=output.progress)
    fit = _fitted(function)

    output.console.print(
        f"{opened.cfg.model_name}: {len(read)} windows of {length} tokens", highlight=False, markup=False
    )
    alone = not layers["mixer"].any()
    shown = tuple(column for column in LAYER_COLUMNS if not (alone and column == "mixer"))
    output.console.print(_table(layers, shown))
    output.console.print(_table(loss, LOSS_COLUMNS))
    total = int(layers["bytes"].sum())
    sentence = f"{total} bytes of state after {length} tokens. {_sentence(fit)}"
    output.console.print(sentence, highlight=False, markup=False)
    output.save(
        {
            "model": summary(opened),
            "length": length,
            "bytes": total,
            "layers": records(layers),
            "loss": records(loss),
            "memory_function": records(function),
            "half_life": fit.half_life,
            "exponent": fit.exponent,
        }
    )
    if html_file is not None:
        from workbench.report import Page, Plot

        name = opened.cfg.model_name
        curve = room.curve_figure({name: loss}, "start", "loss", title_x="position", title_y="loss, nats a token")
        forgets = room.curve_figure(
            {name: function}, "lag", "value", title_x="tokens back", title_y="|dy / dx|", log_x=True, log_y=True
        )
        blocks = [
            Plot(curve, "Loss by position, with 95 % intervals over windows."),
            Plot(forgets, "How strongly the last residual stream depends on an earlier token's embedding."),
        ]
        page = Page(
            f"Memory of {name}", sentence, blocks, facts(Text=f"{text}, {len(read)} windows of {length} tokens")
        )
        output.write_page(page)


LAYER_COLUMNS = ("layer", "mixer", "family", "bytes", "half_life", "longest", "norm_first", "norm_last", "outlier")
LOSS_COLUMNS = ("start", "stop", "loss", "low", "high")


def _layers(model: HookedModel, windows: Any) -> pd.DataFrame:
    """Bytes, half-lives and state norms, a row a mixer; empty cells where a mixer has no such thing."""
    from workbench.probes import memory as room

    length = windows.shape[1]
    sizes = room.state_sizes(model, [length]).rename(columns={f"bytes_{length}": "bytes"})
    lives = room.gate_half_lives(model, windows[:2]).groupby(["layer", "mixer"], as_index=False)
    table = sizes.merge(lives[["half_life", "longest"]].median(), on=["layer", "mixer"])
    norms = room.state_norms(model, windows, [length // 8, length - 1])
    states = norms[norms["asked"] == "state"]
    first, last = (states[states["position"] == at] for at in (length // 8, length - 1))
    keys = ["layer", "mixer", "norm"]
    table = table.merge(first[keys].rename(columns={"norm": "norm_first"}), on=["layer", "mixer"], how="left")
    last = last[[*keys, "outlier"]].rename(columns={"norm": "norm_last"})
    return table.merge(last, on=["layer", "mixer"], how="left")


def _fitted(function: pd.DataFrame) -> DecayFit:
    import torch

    from workbench.probes.memory import fit_decay

    lags, values = (torch.tensor(function[name].to_numpy(dtype=float)) for name in ("lag", "value"))
    return fit_decay(lags, values)


def _sentence(fit: DecayFit) -> str:
    if fit.better == "power":
        return f"The memory function falls like a power of the distance, with exponent {fit.exponent:.2f}."
    return f"The memory function falls exponentially, with a half-life of {fit.half_life:.1f} tokens."


def _table(table: pd.DataFrame, columns: tuple[str, ...]) -> Table:
    from rich.table import Table

    shown = Table()
    for column in columns:
        # A number that does not fit goes on in the next line; cut short it would lose its exponent.
        justify: JustifyMethod = "left" if column == "family" else "right"
        shown.add_column(column.replace("_", " "), justify=justify, overflow="fold")
    for row in records(table):
        shown.add_row(*(_cell(row[column]) for column in columns))
    return shown


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return ""
    if abs(value) >= 1e6:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
