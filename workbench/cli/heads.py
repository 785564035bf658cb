"""``workbench heads``: which heads read where a kind of head reads, or do what a kind of head does."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import HookedModel

ALL = "all"


def heads(
    model: options.ModelArgument,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="previous_token, current_token, first_token, duplicate_token, induction, 2-gram, 3-gram (any n), "
            "copying, copying_circuit, successor or retrieval; all for one table of them all.",
        ),
    ] = "induction",
    top: options.Top = 10,
    causal: Annotated[
        int,
        typer.Option(
            "--causal",
            min=0,
            metavar="K",
            help="Ablate the best K, too, against random others, on the kind's own task.",
        ),
    ] = 0,
    scope: options.ScopeOption = options.Scope.mixer,
    seeds: options.Seeds = 3,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Sequences a batch.", show_default="4; for retrieval 1")
    ] = None,
    block: options.BlockLength = 50,
    haystack: Annotated[
        str | None,
        typer.Option(
            "--haystack",
            help="What retrieval heads have to find: a needle (a sentence), a passkey, or a segment of random tokens.",
            show_default="needle",
        ),
    ] = None,
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--haystack-length",
            min=1,
            help="Tokens of the texts that retrieval heads search; may be repeated.",
            show_default="128, 256, 512",
        ),
    ] = None,
    group: options.Group = 1,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Find heads of a kind: scores with intervals and a null distribution.

    Example: workbench heads zoo:mamba2 --kind induction --out heads.html
    """
    output = Output(json_file, html_file)
    from workbench.probes.heads import get_kind, kinds
    from workbench.probes.heads.table import above_null

    chosen = kinds() if kind == ALL else [get_kind(kind).name]
    opened = open_model(output, model, loading)
    asked: dict[str, Any] = {
        "seeds": range(seed, seed + seeds),
        "batch": batch,
        "block": block,
        "scope": scope.value,
        "haystack": haystack,
        "lengths": length,
        "group": group,
        "progress": output.progress,
    }
    tables = {}
    for name in chosen:
        found = scored(opened, name, asked, output, skip=kind == ALL)
        if found is not None:
            tables[name] = found
    from workbench.cli.tables import heads_table, kinds_table

    title = f"{opened.cfg.model_name}: {'all kinds of' if kind == ALL else kind} heads"
    output.console.print(title, highlight=False, markup=False)
    if kind == ALL:
        output.console.print(kinds_table(tables))
    else:
        output.console.print(heads_table(tables[kind], top))
        definition = get_kind(kind)
        output.console.print(
            f"Such heads {definition.does} ({definition.source}).\n"
            f"{above_null(tables[kind])} of {len(tables[kind])} lie above the 95 % null with their whole interval.",
            highlight=False,
            markup=False,
        )
    checks = {}
    for name in tables if causal else ():
        check = checked(opened, tables, name, causal, asked, output, skip=kind == ALL)
        if check is not None:
            checks[name] = check
    output.save(
        {
            "model": summary(opened),
            "kind": kind,
            "heads": records(_together(list(tables.values()))),
            **({"causal": {name: records(check) for name, check in checks.items()}} if causal else {}),
        }
    )
    if html_file is not None:
        from workbench.cli import sections
        from workbench.families.base import unit_name
        from workbench.report import Page

        blocks = [
            block
            for name, found in tables.items()
            for block in sections.scores(found, name, unit_name(opened.mixers), top)
        ]
        lead = " ".join(
            f"{above_null(found)} of {len(found)} heads {get_kind(name).does} more than their null explains."
            for name, found in tables.items()
        )
        tokens = f"{seeds} seeds from {seed}, blocks of {block}" + (
            "" if batch is None else f", {batch} sequences each"
        )
        heading = "All kinds of" if kind == ALL else f"{kind.replace('_', '-').capitalize()}"
        page = Page(f"{heading} heads of {opened.cfg.model_name}", lead, blocks, facts(Tokens=tokens))
        output.write_page(page)


def scored(model: HookedModel, kind: str, asked: dict[str, Any], output: Output, skip: bool) -> pd.DataFrame | None:
    """The table of one kind, with those of the options that its finder has.

    Where all kinds are asked for (`skip`), one that this model cannot be asked about (no tokenizer, a short context) is
    passed over with a note.
    """
    import inspect

    from workbench.errors import WorkbenchError
    from workbench.probes.heads import find_heads, get_kind

    taken = inspect.signature(get_kind(kind).find).parameters
    own = {name: value for name, value in asked.items() if name in taken and value is not None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            table = find_heads(model, kind, **own)
        except WorkbenchError as error:
            if not skip:
                raise
            output.note(f"{kind}: {error}")
            return None
    for warning in caught:
        output.note(str(warning.message))
    return table


def checked(
    model: HookedModel,
    tables: dict[str, pd.DataFrame],
    kind: str,
    k: int,
    asked: dict[str, Any],
    output: Output,
    skip: bool,
) -> pd.DataFrame | None:
    """Ablate the best `k` heads of a kind and print what that does to the kind's own task; `skip` as in `scored`."""
    import inspect

    from workbench.cli.tables import measures_table
    from workbench.errors import WorkbenchError
    from workbench.probes.causal import ablate_top_k, heads_of_other_kinds
    from workbench.probes.heads import get_kind

    taken = inspect.signature(get_kind(kind).check.make).parameters
    lengths = asked["lengths"]
    own = {"block": asked["block"], "haystack": asked["haystack"], "length": None if lengths is None else max(lengths)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            result = ablate_top_k(
                model,
                tables[kind],
                k,
                exclude=heads_of_other_kinds(tables.values(), kind),
                # Other tokens than those the heads were found on, or the finder would confirm itself.
                seed=asked["seeds"][0] + 1000,
                progress=asked["progress"],
                **{name: value for name, value in own.items() if name in taken and value is not None},
            )
        except WorkbenchError as error:
            if not skip:
                raise
            output.note(f"{kind}: {error}")
            return None
    output.console.print(f"Without the best {k} {kind} heads:", highlight=False, markup=False)
    output.console.print(measures_table(result))
    for warning in caught:
        output.note(str(warning.message))
    return result


def _together(tables: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(tables, ignore_index=True)
