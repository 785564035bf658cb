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

    A sixteenth of the heads is ablated, so that a model of 16 heads and one of 1024 channels lose the same share. No
    random set holds one of the best heads of another kind: what copies is made of several kinds.
    """
    import torch

    from workbench.cli.models import unit_name
    from workbench.probes.causal import ablate_top_k
    from workbench.probes.heads import find_heads

    step("checking the implicit attention of every layer")
    checks = check_layers(model, output, seed)
    tables = {}
    for kind in KINDS:
        step(f"looking for {kind.replace('_', '-')} heads")
        seeds = range(seed, seed + effort.seeds)
        tables[kind] = find_heads(model, kind, seeds=seeds, batch=effort.batch, block=BLOCK)
    kinds = []
    for kind, table in tables.items():
        step(f"ablating {kind.replace('_', '-')} heads")
        k = max(1, len(table) // 16)
        ablation = ablate_top_k(
            model,
            table,
            k,
            draws=effort.draws,
            seed=seed + 1000,
            batch=effort.sequences,
            block=BLOCK,
            exclude=sorted({site for other in KINDS if other != kind for site in _found(tables[other], k)}),
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


def _found(table: pd.DataFrame, k: int) -> list[str]:
    """The best `k` heads, as far as their whole interval lies above the null."""
    best = table.head(k)
    return [str(site) for site in best["site"][best["low"] > best["null"]]]


STEPS = 2 + 2 * len(KINDS)
