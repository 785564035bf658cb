"""``workbench sae compare``: which features, neurons or channels of two models correspond, on the same text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, records
from workbench.cli.sae.tables import frame_table
from workbench.cli.texts import read_texts
from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import HookedModel
    from workbench.saes.comparing import Units

SPELLING = "MODEL@HOOK, or MODEL@FOLDER of an autoencoder: zoo:mamba@blocks.2.hook_resid_post, zoo:mamba@saes/mamba."


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=SPELLING, show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.", show_default=False)],
    text: options.TextFile,
    passages: Annotated[int, typer.Option("--passages", min=2, help="At most that many passages of the text.")] = 200,
    characters: Annotated[int, typer.Option("--characters", min=1, help="Characters a passage.")] = 400,
    partners: Annotated[int, typer.Option("--partners", min=1, help="Units of B that predict one of A together.")] = 5,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Match by the size of a correlation, whatever its sign.")
    ] = False,
    spaces: Annotated[
        bool, typer.Option("--spaces/--no-spaces", help="SVCCA, CKA and RSA of the two places, too.")
    ] = True,
    top: options.Top = 10,
    batch: options.Batch = 8,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Match units of two models of any family on the same text, whatever their tokenizers.

    Units are matched on one half of the passages and tested on the other.

    Example: workbench sae compare zoo:attention@blocks.2.hook_resid_post zoo:mamba@saes/mamba --text speeches.txt
    """
    output = Output(json_file)
    read = read_texts(text)
    named = [_split(side) for side in (first, second)]
    loading = options.Loading(device=device, dtype=dtype, trust_pickle=trust_pickle)
    models: dict[str, HookedModel] = {}
    for source, _ in named:
        if source not in models:
            models[source] = open_model(output, source, loading)
    from workbench.saes import comparing

    units = [_units(models[source], place) for source, place in named]
    settings: dict[str, Any] = {
        "characters": characters,
        "count": passages,
        "batch": batch,
        "seed": seed,
        "progress": output.progress,
    }
    matches = comparing.match_features(units[0], units[1], read, partners=partners, absolute=absolute, **settings)
    table, means = matches.table(seed=seed), matches.summary(seed=seed)
    output.console.print(f"{matches.first}\n{matches.second}", highlight=False, markup=False)
    output.console.print(frame_table(means, number=".3f", narrow=True))
    output.console.print(frame_table(_shown(table.head(top)), number=".3f", narrow=True))
    found: dict[str, Any] = {
        "models": [summary(models[source]) for source, _ in named],
        "first": matches.first,
        "second": matches.second,
        "summary": records(means),
        "pairs": records(table),
    }
    if spaces:
        compared = comparing.compare_spaces(units[0], units[1], read, **settings)
        output.console.print(f"As spaces, at {compared.places} tokens", highlight=False, markup=False)
        output.console.print(frame_table(compared.table(), number=".3f", narrow=True))
        found["spaces"] = records(compared.table())
    output.console.print(
        "Correlations are of passages that units were not matched on; shuffled: tokens of B in another order."
    )
    output.save(found)


def _split(side: str) -> tuple[str, str]:
    model, mark, place = side.partition("@")
    if not (model and mark and place):
        raise InputError(f"{side!r} names no place; write {SPELLING}")
    return model, place


def _units(model: HookedModel, place: str) -> Units:
    """A folder where there is one, an autoencoder that comes with the workbench, else a hook."""
    from workbench.saes import load_sae
    from workbench.saes.comparing import Units

    if place.startswith("zoo:") or Path(place).is_dir():
        return Units.of(model, load_sae(place, model=model, device=model.cfg.device))
    return Units.of(model, place)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """What of the pairs fits into 80 columns."""
    made = table[["unit", "partner"]].copy()
    limits = zip(table["correlation_low"], table["correlation_high"], strict=True)
    made["correlation"] = table["correlation"]
    made["interval"] = ["" if low != low else f"{low:.3f}–{high:.3f}" for low, high in limits]
    return made.assign(shuffled=table["shuffled"], best=table["best"], mutual=table["mutual"], R2=table["predicted"])
