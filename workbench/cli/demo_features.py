"""``workbench demo --features``: what the zoo's sparse autoencoders have found, as stores and as pages to look at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from workbench.cli import texts
from workbench.cli.models import open_model
from workbench.cli.options import Loading
from workbench.cli.output import Output

TOKENS, LENGTH = 100_000, 256
"""Tokens that a store is made of, and tokens a row of them."""


def browse(out: Path, text: Path | None, json_file: Path | None, device: str | None) -> None:
    """Read every shipped autoencoder's features on a text into ``out/features``, and write a page of each."""
    from workbench.saes.export import export_dashboard
    from workbench.saes.features import collect_features
    from workbench.saes.features.listing import telling_feature
    from workbench.saes.files import load_sae
    from workbench.saes.shipped import MEMBERS
    from workbench.saes.streams import TextSource

    started = time.monotonic()
    output = Output(json_file, None)
    source = TextSource(_text(out, text), LENGTH)
    made: list[dict[str, Any]] = []
    for name, member in MEMBERS.items():
        model = open_model(output, f"zoo:{member.model}", Loading(device=device))
        sae = load_sae(name)
        folder = out / "features" / member.folder
        store = collect_features(
            model, sae.to(model.cfg.device), source, folder, tokens=TOKENS, progress=output.progress
        )
        page = export_dashboard(
            store, folder.with_suffix(".html"), title=f"Features of {name}", progress=output.progress
        )
        table = store.features()
        made.append(
            {
                "name": name,
                "model": f"zoo:{member.model}",
                "try": telling_feature(store),
                "store": str(folder),
                "page": str(page.path),
                "tokens": int(store.info.tokens),
                "features": len(table),
                "dead": int(table["dead"].sum()),
            }
        )
        output.console.print(
            f"{name}: {len(table) - made[-1]['dead']} of {len(table)} features fire on {store.info.tokens:,} vectors. "
            f"Look at them in a browser: {page.path.resolve()}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    output.save({"features": made})
    output.console.print(f"\nThat took {time.monotonic() - started:.0f} s. What to type next:", highlight=False)
    first = made[0]
    for line in (
        f"workbench sae features show {first['store']} {first['try']}",
        f"workbench sae steer {first['model']} {first['name']} 'The people of this country' --feature {first['try']}=2 "
        f"--store {first['store']}",
    ):
        output.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _text(out: Path, text: Path | None) -> list[str]:
    """The user's text, or the speeches that neither the models nor the autoencoders were trained on."""
    from workbench.zoo.recipe import corpus

    if text is not None:
        return texts.read_texts(text)
    return corpus.held_out_speeches(out / "speeches", "Give a text of your own with --text.")
