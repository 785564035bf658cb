"""``workbench info``: what a model is, and how exact its implicit attention is in every layer."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output
from workbench.cli.tables import layer_cell

if TYPE_CHECKING:
    from workbench.kernels.forms import Form
    from workbench.model import HookedModel

# More than one chunk of the recurrences, so that carrying a state from chunk to chunk is checked as well.
CHECK_TOKENS = 160


def info(
    model: options.ModelArgument,
    hooks: Annotated[bool, typer.Option("--hooks", help="List every hook name.")] = False,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Say what a model is: family, sizes, hooks, and how exact its implicit attention is.

    Example: workbench info zoo:mamba
    """
    output = Output(json_file)
    opened = open_model(output, model, loading)
    facts = summary(opened)
    layers = check_layers(opened, output, seed)
    _print(output, opened, facts, layers)
    if hooks:
        for name, point in opened.points.items():
            asked = "  (on request)" if point.on_request else ""
            output.console.print(f"{name} \\[{', '.join(point.axes)}]{asked}", highlight=False, soft_wrap=True)
    result = {**facts, "check_tokens": _length(opened), "check": layers}
    output.save({**result, "hook_names": opened.hook_names} if hooks else result)


def _length(model: HookedModel) -> int:
    return min(CHECK_TOKENS, model.cfg.n_ctx or CHECK_TOKENS)


def check_layers(model: HookedModel, output: Output, seed: int = 0) -> list[dict[str, Any]]:
    """`ImplicitAttention.check` of every mixer and scope on random tokens, with each mixer's state size."""
    import torch
    from rich.progress import track

    from workbench.families.base import unit_name

    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(model.cfg.d_vocab, (1, _length(model)), generator=generator)
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        core = track(
            model.implicit_attentions(tokens, scope="core", mixer=None),
            total=len(model.mixers),
            description="checking layers",
            console=output.errors,
            transient=True,
            disable=not output.progress,
        )
        for layer, attention in core:
            adapter = model.mixer(layer, attention.mixer)
            whole = type(attention)(attention.form, "mixer", layer, attention.mixer)
            rows.append(
                {
                    "layer": layer,
                    "mixer": attention.mixer,
                    "family": adapter.family,
                    "heads": adapter.n_heads,
                    "unit": unit_name([adapter]),
                    "check_core": attention.check(),
                    "check_mixer": whole.check(),
                    **_memory(attention.form.core),
                }
            )
    return sorted(rows, key=itemgetter("layer", "mixer"))


def _memory(core: Form) -> dict[str, int]:
    """Numbers the mixer keeps of the past: of fixed size where it has a state, a token where it has a cache."""
    from workbench.kernels.forms import Softmax, Toeplitz

    if isinstance(core, Softmax):
        return {"cache_per_token": core.k.shape[2] * core.k.shape[3] + core.v.shape[2] * core.v.shape[3]}
    width = core.kernel.shape[1] - 1 if isinstance(core, Toeplitz) else core.k.shape[3]
    return {"state": core.heads * core.v.shape[3] * width}


def _print(output: Output, model: HookedModel, facts: dict[str, Any], layers: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from workbench.families.base import unit_name

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    shown = {
        "model": facts["model"],
        "architecture": f"{facts['architecture']} ({facts['family']})",
        "parameters": f"{facts['parameters']:,}",
        "layers": str(facts["layers"]),
        f"{unit_name(model.mixers)}s a layer": _each(facts["heads"]),
        "values a head": _each(facts["d_head"]),
        "width": str(facts["d_model"]),
        "vocabulary": f"{facts['vocabulary']:,}",
        "context": "unbounded" if facts["context"] is None else f"{facts['context']:,} tokens",
        "memory a layer": _each([_memory_text(row) for row in layers]),
        "weights": f"{facts['dtype']} on {facts['device']}",
        "tokenizer": "yes" if facts["tokenizer"] else "none: give token ids",
        "hooks": f"{facts['hooks']} (list them with --hooks)",
    }
    for name, value in shown.items():
        table.add_row(name, value)
    output.console.print(table, highlight=False)
    output.console.print(
        f"\nImplicit attention: error of A v against the layer's own output, {_length(model)} random tokens",
        highlight=False,
    )
    checks = Table()
    for column in ("layer", "family"):
        checks.add_column(column)
    for column in ("heads", "core", "mixer"):
        checks.add_column(column, justify="right")
    for row in layers:
        checks.add_row(
            layer_cell(row),
            row["family"],
            f"{row['heads']} {row['unit']}s",
            f"{row['check_core']:.1e}",
            f"{row['check_mixer']:.1e}",
        )
    output.console.print(checks)


def _memory_text(row: dict[str, Any]) -> str:
    if "state" in row:
        return f"state of {row['state']:,} numbers"
    return f"cache of {row['cache_per_token']:,} numbers a token"


def _each(values: Any) -> str:
    """One value, or the different ones where layers differ."""
    several = values if isinstance(values, list) else [values]
    return ", ".join(dict.fromkeys(map(str, several)))
