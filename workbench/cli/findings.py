"""The whole job on one model: check it, find its heads, ablate them. What the demo runs a member."""

from __future__ import annotations

import warnings
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

    seeds: int = 2
    batch: int = 4
    sequences: int = 16
    draws: int = 20


QUICK = Effort(seeds=1, batch=4, sequences=8, draws=5)


@dataclass(frozen=True)
class Finding:
    """One kind of head in one model.

    Attributes:
        table: scores of all heads: those that are clearly of the kind, then the others, each best first.
        found: how many are clearly of the kind (`clear_heads`).
        ablation: what the model loses without those (without the best sixteenth, where none is), against random others.
        notes: what there is to know about the random sets.
    """

    kind: str
    table: pd.DataFrame
    found: int
    ablation: pd.DataFrame
    notes: list[str]

    @property
    def ablated(self) -> int:
        """How many heads were ablated."""
        return self.found or max(1, len(self.table) // 16)

    def as_json(self) -> dict[str, Any]:
        """Plain values; the scores of the best 50 heads."""
        return {
            "kind": self.kind,
            "found": self.found,
            "ablated": self.ablated,
            "heads": records(self.table.head(50)),
            "ablation": records(self.ablation),
            "notes": self.notes,
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

    All heads that are clearly of a kind are ablated together, because they stand in for each other. No random set holds
    one that is clearly of another kind, because copying is made of several kinds.
    """
    import torch

    from workbench.families.base import unit_name
    from workbench.probes.causal import ablate_top_k
    from workbench.probes.heads import find_heads

    step("checking the implicit attention of every layer")
    checks = check_layers(model, output, seed)
    tables = {}
    for kind in KINDS:
        step(f"looking for {kind.replace('_', '-')} heads")
        seeds = range(seed, seed + effort.seeds)
        tables[kind] = clear_first(find_heads(model, kind, seeds=seeds, batch=effort.batch, block=BLOCK))
    found = {kind: clear_heads(table) for kind, table in tables.items()}
    kinds = []
    for kind, table in tables.items():
        step(f"ablating {kind.replace('_', '-')} heads")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            ablation = ablate_top_k(
                model,
                table.assign(place=range(len(table), 0, -1)),
                len(found[kind]) or max(1, len(table) // 16),
                by="place",
                draws=effort.draws,
                seed=seed + 1000,
                batch=effort.sequences,
                block=BLOCK,
                exclude=sorted({site for other in KINDS if other != kind for site in found[other]} - {*found[kind]}),
            )
        notes = [str(warning.message) for warning in caught]
        kinds.append(Finding(kind, table, len(found[kind]), ablation, notes))
    step("drawing")
    best = kinds[0].table.iloc[0]
    tokens = model.to_tokens(TEXT)
    with torch.no_grad():
        attention = model.implicit_attention(tokens, int(best["layer"]), scope="mixer", mixer=int(best["mixer"]))
        drawn = pictures(model, attention, int(best["layer"]), int(best["head"]), 5, output)
        error = attention.check()
    return Findings(
        summary(model),
        unit_name(model.mixers),
        checks,
        kinds,
        model.to_str_tokens(tokens[0]),
        drawn,
        error,
    )


def clear_heads(table: pd.DataFrame) -> list[str]:
    """Sites of the heads that are clearly of the kind, best first: a quarter of the model at most.

    So there are others to compare with.
    """
    from workbench.probes.heads import table as tables

    return tables.clear_heads(table)[: len(table) // 4]


def clear_first(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the heads that are clearly of the kind in front: a high score may lie below its own null."""
    clear = table["site"].astype(str).isin(clear_heads(table))
    return table.sort_index(key=lambda index: ~clear[index], kind="stable", ignore_index=True)


STEPS = 2 + 2 * len(KINDS)
