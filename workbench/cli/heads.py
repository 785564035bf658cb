"""``workbench heads``: which heads read where a kind of head reads."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary, unit_name
from workbench.cli.output import Output, facts, records


def heads(
    model: options.ModelArgument,
    kind: options.Kind = "induction",
    top: Annotated[int, typer.Option("--top", min=1, help="Rows to show.")] = 10,
    scope: options.ScopeOption = options.Scope.mixer,
    seeds: options.Seeds = 3,
    batch: options.Batch = 4,
    block: options.BlockLength = 50,
    group: options.Group = 1,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Find heads of a kind: scores on random tokens repeated, with intervals and a null distribution.

    Example: workbench heads zoo:mamba2 --kind induction --out heads.html
    """
    output = Output(json_file, html_file)
    opened = open_model(output, model, device=device, dtype=dtype, revision=revision, trust_pickle=trust_pickle)
    from workbench.probes.heads import find_heads, get_kind

    definition = get_kind(kind)
    table = find_heads(
        opened,
        kind,
        seeds=range(seed, seed + seeds),
        batch=batch,
        block=block,
        scope=scope.value,
        group=group,
        progress=output.progress,
    )
    from workbench.cli import sections
    from workbench.cli.tables import heads_table

    above = int((table["low"] > table["null"]).sum())
    output.console.print(f"{opened.cfg.model_name}: {kind} heads", highlight=False, markup=False)
    output.console.print(heads_table(table, top))
    output.console.print(
        f"Such heads {definition.does} ({definition.source}).\n"
        f"{above} of {len(table)} lie above the 95 % null with their whole interval.",
        highlight=False,
        markup=False,
    )
    output.save({"model": summary(opened), "kind": kind, "heads": records(table)})
    if html_file is not None:
        from workbench.report import Page, write_page

        lead = f"{above} of {len(table)} heads {definition.does} more than their null distribution explains."
        blocks = sections.scores(table, kind, unit_name(opened.mixers), top)
        asked = f"{seeds} seeds from {seed}, {batch} sequences each, blocks of {block}"
        title = f"{kind.replace('_', '-').capitalize()} heads of {opened.cfg.model_name}"
        write_page(html_file, Page(title, lead, blocks, facts(Tokens=asked)))
        output.wrote(html_file)
