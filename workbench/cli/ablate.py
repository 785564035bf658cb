"""``workbench ablate``: what a model loses without some of its heads, against others."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from workbench.model import HookedModel
    from workbench.sites import Site


def ablate(
    model: options.ModelArgument,
    kind: options.Kind = "induction",
    best: Annotated[int, typer.Option("--best", min=1, metavar="K", help="Ablate the best K heads.")] = 8,
    sites: Annotated[
        str | None,
        typer.Option(
            "--sites",
            metavar="L5H1,L6H3",
            help="Ablate these instead: heads L5H1, channel groups L5H0:64, mixers L5.mixer, MLPs L5.mlp or layers L5; "
            "a second mixer's are L5.mixer1H0 and L5.mixer1.",
        ),
    ] = None,
    method: options.MethodOption = options.Method.mean,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Random sets to compare with.")] = 20,
    scope: options.ScopeOption = options.Scope.mixer,
    seeds: options.Seeds = 3,
    batch: options.Batch = 8,
    block: options.BlockLength = 50,
    group: options.Group = 1,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Ablate the best heads of a kind, or named sites, and as many random others of the same layers.

    Loss (nats) and accuracy are reported apart for the first copy of a random block, which nothing predicts, and for
    the second, which can be copied.

    Example: workbench ablate zoo:attention --kind induction --best 2
    """
    output = Output(json_file, html_file)
    opened = open_model(output, model, loading)
    from workbench.cli.heads import scored
    from workbench.probes.causal import ablate_top_k
    from workbench.probes.heads import CausalTask, get_kind

    if get_kind(kind).check != CausalTask():
        raise InputError(
            f"Heads of the kind {kind!r} are checked on a task of their own; "
            f"ask workbench heads {model} --kind {kind} --causal {best}."
        )
    if sites is None:
        wanted = {
            "seeds": range(seed, seed + seeds),
            "scope": scope.value,
            "block": block,
            "group": group,
            "progress": output.progress,
        }
        table = scored(opened, kind, wanted, output, skip=False)
        assert table is not None  # nothing is skipped
        what = f"the {best} best {kind} heads"
    else:
        table = candidates(opened, sites)
        best = int(table["score"].sum())
        what = ", ".join(table["site"][:best])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = ablate_top_k(
            opened,
            table,
            best,
            method=method.value,
            draws=draws,
            # Other tokens than those the heads were found on, or the finder would confirm itself.
            seed=seed + 1000,
            batch=batch,
            block=block,
            progress=output.progress,
        )
    from workbench.cli import sections
    from workbench.cli.tables import ablation_table

    title = f"{opened.cfg.model_name}: {method.value} ablation of {what}"
    output.console.print(title, highlight=False, markup=False)
    output.console.print(ablation_table(result))
    output.console.print(sections.verdict(result), highlight=False, markup=False)
    for warning in caught:
        output.note(str(warning.message))
    output.save({"model": summary(opened), "method": method.value, "draws": draws, "ablation": records(result)})
    if html_file is not None:
        from workbench.report import Page

        blocks = sections.ablation(result, what, [str(warning.message) for warning in caught])
        asked = f"seed {seed + 1000}, {batch} sequences, blocks of {block}, {draws} random sets"
        output.write_page(Page(title, sections.verdict(result), blocks, facts(Tokens=asked)))


def candidates(model: HookedModel, sites: str) -> pd.DataFrame:
    """A table as `find_heads` makes it: the named sites with score 1, and all others of their kind and size with 0.

    Raises:
        InputError: a spelling is wrong, the model has no such site, or the sites are not of one kind and size, so that
            there are no random sets to compare them with.
    """
    import pandas as pd

    from workbench.sites import as_sites

    named = as_sites([part for part in sites.replace(" ", ",").split(",") if part])
    if not named:
        raise InputError("--sites names nothing; write for example --sites L5H1,L6H3.")
    for site in named:
        site.hook_names(model)
    if len({(site.part, site.stop - site.start, site.mixer is None) for site in named}) > 1:
        raise InputError(
            "The sites are of different kinds or sizes, so no random set is like them; "
            "name heads, groups of one size, mixers, MLPs or layers."
        )
    rows = [{"site": str(site), "score": 1.0} for site in named]
    rows += [{"site": str(site), "score": 0.0} for site in _others(model, named)]
    return pd.DataFrame(rows)


def _others(model: HookedModel, named: list[Site]) -> list[Site]:
    """Sites of the same kind and size that overlap none of the named ones."""
    from workbench.sites import Site

    part, size = named[0].part, named[0].stop - named[0].start
    if part == "heads":
        found = [
            Site.heads(adapter.layer, at, at + size, mixer=adapter.index)
            for adapter in model.mixers
            for at in range(0, adapter.n_heads - size + 1, size)
        ]
    elif named[0].mixer is not None:
        found = [Site(adapter.layer, part, mixer=adapter.index) for adapter in model.mixers]
    else:
        needed = {"mlp": "hook_mlp_out", "mixer": "mixer.hook_out", "layer": "hook_resid_post"}[part]
        layers = range(model.cfg.n_layers)
        found = [Site(layer, part) for layer in layers if f"blocks.{layer}.{needed}" in model.points]
    taken = {place for site in named for place in _places(site)}
    return [site for site in found if taken.isdisjoint(_places(site))]


def _places(site: Site) -> Iterator[tuple[int, int | None, int]]:
    for head in range(site.start, max(site.stop, site.start + 1)):
        yield site.layer, site.mixer, head
