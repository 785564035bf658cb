"""``workbench patch``: what depends on what, by exchanging activations between two runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.cli.probe_output import Layers, layer_numbers
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.cli.patch_runs import Runs
    from workbench.model import HookedModel


class By(StrEnum):
    """How an effect is found."""

    activation = "activation"
    attribution = "attribution"
    integrated = "integrated"
    path = "path"
    effects = "effects"


class Edited(StrEnum):
    """Which run is edited."""

    clean = "clean"
    corrupted = "corrupted"


SAID = {
    By.activation: "Effect of putting there what it was in the other run.",
    By.attribution: "Effect of putting there what it was in the other run, to first order.",
    By.integrated: "Effect of putting there what it was in the other run, by integrated gradients.",
    By.path: "Effect of the sender on the receiver's direct path alone, everything else held.",
    By.effects: "Effect of ablating a component: directly through the unembedding, and in all.",
}


def patch(
    model: options.ModelArgument,
    clean: Annotated[
        str | None, typer.Argument(metavar="CLEAN", help="A prompt with an answer.", show_default=False)
    ] = None,
    corrupted: Annotated[
        str | None,
        typer.Argument(metavar="CORRUPTED", help="The same with another answer, token by token.", show_default=False),
    ] = None,
    answer: options.Answer = None,
    instead: options.Instead = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", metavar="FILE.csv", help="Pairs in columns clean, corrupted, answer, instead."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Two draws of this task instead of prompts.")
    ] = None,
    settings: options.Settings = None,
    by: Annotated[
        By,
        typer.Option(
            "--by",
            help="activation: place by place; attribution, integrated: all at once by gradients; path: senders to "
            "receivers; effects: direct and total.",
        ),
    ] = By.activation,
    edited: Annotated[
        Edited,
        typer.Option(
            "--edit", help="clean: what breaks the answer (noising); corrupted: what restores it (denoising)."
        ),
    ] = Edited.clean,
    hook: options.Hook = "resid_post",
    layers: Layers = "all",
    positions: Annotated[
        str | None,
        typer.Option(
            "--positions", help="all at once, each in turn, or numbers: 3,-1.", show_default="each; of heads all"
        ),
    ] = None,
    senders: Annotated[
        str | None,
        typer.Option("--senders", metavar="L0H1,L1.mlp", help="Of paths and effects.", show_default="all components"),
    ] = None,
    receivers: Annotated[
        str, typer.Option("--receivers", metavar="L1H0.k,L1.mlp", help="Of paths; logits for the unembedding.")
    ] = "logits",
    method: options.MethodOption = options.Method.mean,
    top: options.Top = 10,
    group: options.Group = 1,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Exchange activations between two runs and say which places, paths or components the answer depends on.

    Example: workbench patch zoo:attention "one two three one two" "one two four one two" --hook z
    """
    output = Output(json_file, html_file)
    given = _given(clean, corrupted, answer, instead, pairs, task, settings)
    numbers = layer_numbers(layers)
    opened = open_model(output, model, loading)
    from workbench.cli.patch_output import effect_columns, effect_figure, effect_rows, effect_table
    from workbench.cli.patch_runs import runs_of_pairs, runs_of_task
    from workbench.probes.patching.comparison import Comparison

    runs = runs_of_pairs(opened, given) if task is None else runs_of_task(opened, task, given[0], seed)
    run, source = (runs.clean, runs.corrupted) if edited is Edited.clean else (runs.corrupted, runs.clean)
    both = Comparison.of(opened, run, source, runs.metric)
    values = {"edited": float(both.value().mean()), "other": float(both.source_value().mean())}
    shared: dict[str, Any] = {"progress": output.progress}
    if by in (By.path, By.effects):
        sites = None if senders is None else _listed("--senders", senders)
        table = _components(opened, run, source, runs, by, sites, receivers, method.value, seed, shared)
    else:
        names, where = _places(opened, hook, numbers, positions)
        table = _swept(opened, run, source, runs, by, names, where, group, shared)
    title = f"{opened.cfg.model_name}: {by.value} {'' if by is By.effects else 'patching'}".rstrip()
    lead = (
        f"{runs.measured[0].upper()}{runs.measured[1:]} is {values['edited']:.3f} in the {edited.value} run, which is "
        f"edited, and {values['other']:.3f} in the other."
    )
    output.console.print(f"{title}\n{lead}", highlight=False, markup=False)
    output.console.print(effect_table(table, runs, top))
    output.console.print(f"{SAID[by]} {_shown(table, top)}", highlight=False, markup=False)
    output.save(
        {
            "model": summary(opened),
            "by": by.value,
            "edit": edited.value,
            "metric": runs.measured,
            "values": values,
            "effects": records(table),
        }
    )
    if html_file is not None:
        from workbench.report import Block, Page, Plot
        from workbench.report import Table as PageTable

        columns = effect_columns(table)
        numeric = frozenset(i for i, name in enumerate(columns) if name in ("effect", "share", "direct", "total"))
        blocks: list[Block] = [
            Plot(effect_figure(table, runs), SAID[by], "wide"),
            PageTable(columns, effect_rows(table, runs, top), _shown(table, top), numeric),
        ]
        output.write_page(Page(title, lead, blocks, facts(Edited=edited.value)))


def _given(
    clean: str | None,
    corrupted: str | None,
    answer: str | None,
    instead: str | None,
    pairs: Path | None,
    task: str | None,
    settings: list[str] | None,
) -> list[dict[str, Any]]:
    """Pairs of prompts, or the settings of a task. Raises InputError where a user gave neither, or both."""
    from workbench.cli.patch_runs import read_pairs
    from workbench.cli.task_settings import read_settings

    prompts = clean is not None or corrupted is not None
    if prompts + (pairs is not None) + (task is not None) != 1:
        raise InputError("Give two prompts, CLEAN and CORRUPTED, or --pairs FILE.csv, or --task TASK, and one of them.")
    if not prompts and (answer is not None or instead is not None):
        raise InputError("--answer and --instead go with two prompts; pairs and tasks bring their own.")
    if settings and task is None:
        raise InputError("--set is for the options of a task; say which with --task.")
    if task is not None:
        return [read_settings(task, settings or [])]
    if pairs is not None:
        return [dict(pair) for pair in read_pairs(pairs)]
    if not clean or not corrupted:
        raise InputError("Two prompts are exchanged, CLEAN and CORRUPTED, and neither is empty.")
    return [{"clean": clean, "corrupted": corrupted, "answer": answer, "instead": instead}]


def _places(
    model: HookedModel, hook: str, layers: list[int] | None, positions: str | None
) -> tuple[list[str], str | list[int]]:
    """Hook names, and the positions of the edits."""
    from workbench.interventions.selection import head_axis
    from workbench.probes.linear import places

    names = [place.name for place in places(model, hook, layers)]
    if positions is None:
        return names, "each" if head_axis(model.points[names[0]]) is None else "all"
    if positions.strip() in ("all", "each"):
        return names, positions.strip()
    try:
        return names, [int(part) for part in positions.split(",")]
    except ValueError:
        raise InputError(f"--positions is all, each or numbers with commas, such as 3,-1; got {positions!r}.") from None


def _swept(
    model: HookedModel,
    run: Any,
    source: Any,
    runs: Runs,
    by: By,
    names: list[str],
    positions: str | list[int],
    group: int,
    shared: dict[str, Any],
) -> pd.DataFrame:
    """Every place of a sweep."""
    from workbench.probes.patching import activation_patching, attribution_patching

    asked = {"at": names, "positions": positions, "group": group, **shared}
    if by is By.activation:
        return activation_patching(model, run, source, runs.metric, **asked)
    method = "gradient" if by is By.attribution else "integrated"
    return attribution_patching(model, run, source, runs.metric, method=method, **asked)


def _components(
    model: HookedModel,
    run: Any,
    source: Any,
    runs: Runs,
    by: By,
    sites: list[str] | None,
    receivers: str,
    method: str,
    seed: int,
    shared: dict[str, Any],
) -> pd.DataFrame:
    """Every component, along its paths or ablated."""
    from workbench.probes.patching import direct_and_total_effects, path_patching
    from workbench.probes.patching.effects import every_component

    if by is By.path:
        senders = every_component(model) if sites is None else sites
        wanted = _listed("--receivers", receivers)
        return path_patching(model, run, source, runs.metric, senders=senders, receivers=wanted, **shared)
    tokens, mask = (source.tokens, source.mask) if hasattr(source, "tokens") else (source, None)
    if mask is not None:
        raise InputError("Components are ablated to what they are in the other run, which must not be padded.")
    return direct_and_total_effects(
        model, run, runs.metric, sites=sites, method=method, reference=tokens, seed=seed, **shared
    )


def _listed(option: str, spelled: str) -> list[str]:
    found = [part for part in spelled.replace(" ", ",").split(",") if part]
    if not found:
        raise InputError(f"{option} names nothing; write for example {option} L0H1,L1.mlp.")
    return found


def _shown(table: pd.DataFrame, top: int) -> str:
    return f"The largest {min(top, len(table))} of {len(table)} are shown." if len(table) > top else ""
