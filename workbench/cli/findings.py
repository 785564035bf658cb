"""The whole job on one model: check it, find its heads, ablate them. What the demo runs a member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.cli.info import check_layers
from workbench.cli.models import summary
from workbench.cli.output import Output, records
from workbench.cli.pictures import Picture, pictures

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import HookedModel

KINDS = ("induction", "previous_token", "duplicate_token")
BLOCK = 32
TEXT = (
    "The whale was white, and the captain had one leg. We sailed from Nantucket in December. "
    "The whale was white, and the captain had one"
)


@dataclass(frozen=True)
class Effort:
    """How much is averaged: seeds and sequences for scores, sequences and random sets for ablations."""

    seeds: int = 3
    batch: int = 4
    sequences: int = 16
    draws: int = 20


QUICK = Effort(seeds=1, batch=4, sequences=8, draws=5)


@dataclass(frozen=True)
class Finding:
    """One kind of head in one model: all scores, and what the best `k` do when they are ablated."""

    kind: str
    table: pd.DataFrame
    k: int
    ablation: pd.DataFrame

    def as_json(self) -> dict[str, Any]:
        """Plain values; the scores of the best 50 heads."""
        return {
            "kind": self.kind,
            "k": self.k,
            "heads": records(self.table.head(50)),
            "ablation": records(self.ablation),
        }


@dataclass(frozen=True)
class Findings:
    """All there is to say about one model."""

    model: dict[str, Any]
    unit: str
    checks: list[dict[str, Any]]
    kinds: list[Finding]
    tokens: list[str]
    pictures: list[Picture]
    picture_check: float

    @property
    def induction(self) -> Finding:
        """What the demo is about."""
        return next(finding for finding in self.kinds if finding.kind == "induction")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"model": self.model, "check": self.checks, "findings": [finding.as_json() for finding in self.kinds]}


def investigate(model: HookedModel, effort: Effort, seed: int, output: Output, step: Callable[[str], None]) -> Findings:
    """Check, find, ablate, draw. `step` is told what is about to be done, `STEPS` times.

    As many heads are ablated as make an eighth of the model, so that models with 16 heads and with 1024 channels lose
    the same share.
    """
    import torch

    from workbench.cli.models import unit_name
    from workbench.probes.causal import ablate_top_k
    from workbench.probes.heads import find_heads

    step("checking the implicit attention of every layer")
    checks = check_layers(model, output, seed)
    kinds = []
    for kind in KINDS:
        step(f"looking for {kind.replace('_', '-')} heads")
        table = find_heads(model, kind, seeds=range(seed, seed + effort.seeds), batch=effort.batch, block=BLOCK)
        k = max(1, len(table) // 8)
        step(f"ablating {kind.replace('_', '-')} heads")
        ablation = ablate_top_k(
            model, table, k, draws=effort.draws, seed=seed + 1000, batch=effort.sequences, block=BLOCK
        )
        kinds.append(Finding(kind, table, k, ablation))
    step("drawing")
    best = kinds[0].table.iloc[0]
    tokens = model.to_tokens(TEXT)
    with torch.no_grad():
        attention = model.implicit_attention(tokens, int(best["layer"]), scope="mixer")
        drawn = pictures(model, attention, int(best["layer"]), int(best["head"]), 5, output)
        error = attention.check()
    return Findings(
        summary(model),
        unit_name(model),
        checks,
        kinds,
        model.to_str_tokens(tokens[0]),
        drawn,
        error,
    )


STEPS = 2 + 2 * len(KINDS)
