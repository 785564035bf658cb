"""Train and judge the shipped autoencoders: ``python -m workbench.saes.shipped.recipe --runs runs``.

Training goes on where it was cut off. Each is judged on held-out speeches beside baselines, and its card is written
from that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import workbench
from workbench.model import HookedModel
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.files import load_sae, save_sae
from workbench.saes.judging import judge_sae, token_windows
from workbench.saes.shipped.card import write_card
from workbench.saes.shipped.members import MEMBERS, WEIGHTS, Member
from workbench.saes.site import VectorSite
from workbench.saes.streams import TextSource, fit_basis
from workbench.saes.training import train_sae
from workbench.zoo.recipe import corpus

LENGTH = 256
SEED = 0
BUFFER = 2**25
JUDGED, FITTED = 96, 96
"""Windows of held-out text that an autoencoder is judged on, and of training text that its baselines are fitted to."""


def train(member: Member, texts: list[str], run: Path) -> tuple[HookedModel, SparseAutoencoder]:
    """The zoo's model and an autoencoder trained on what it makes of the texts."""
    model = workbench.load(f"zoo:{member.model}")
    site = VectorSite.of(model, member.hook, every=member.every)
    if member.rank is not None:
        site = fit_basis(model, TextSource(texts, LENGTH), site, member.rank).site
    sae = train_sae(
        model,
        TextSource(texts, LENGTH, seed=SEED, epochs=None),
        site,
        folder=run,
        d_sae=member.d_sae,
        k=member.k,
        tokens=member.vectors,
        batch=member.batch,
        seed=SEED,
        checkpoint_steps=400,
        stream={"buffer_bytes": BUFFER},
    )
    return model, sae


def ship(member: Member, run: Path, training: list[str], held_out: list[str], weights: Path) -> dict[str, Any]:
    """Train if need be, judge, and write ``weights/member``; returns what the card is made of."""
    model, sae = train(member, training, run)
    target = weights / member.folder
    save_sae(sae, target)
    judged = judge_sae(
        model,
        load_sae(target),
        TextSource(held_out, LENGTH),
        windows=JUDGED,
        length=LENGTH,
        fit_on=token_windows(model, training[::8], LENGTH, FITTED),
        seed=SEED,
        progress=True,
    )
    report = {
        "member": member.name,
        "hook": member.hook,
        "settings": {
            "length": LENGTH,
            "batch": member.batch,
            "seed": SEED,
            "vectors": member.vectors,
            "every": member.every,
        },
        "rank": member.rank,
        "trained": sae.cfg.details.get("trained", {}),
        "judged": json.loads(judged.table().to_json(orient="records")),
    }
    (target / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (target / "README.md").write_text(write_card(member, report), encoding="utf-8")
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.saes.shipped.recipe", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder for checkpoints, one folder a member")
    parser.add_argument("--member", choices=sorted(MEMBERS), action="append", help="default: all of them")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--downloads", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    training, held_out = corpus.documents(corpus.prepare(arguments.corpus, arguments.downloads))
    for name in arguments.member or MEMBERS:
        member = MEMBERS[name]
        report = ship(member, arguments.runs / member.folder, training, held_out, arguments.weights)
        print(f"{name}: {report['trained']}")


if __name__ == "__main__":
    main()
