"""Which heads are of a kind: scores beside their nulls, what is lost without them, two models by the same measure."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench.errors import InputError, nearest
from workbench.families.base import unit_name
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads, sites_of, top_heads
from workbench.probes.heads import get_kind
from workbench.probes.heads.table import above_null, clear_heads, expected_best
from workbench.tasks import Vocabulary

RANKS = ("excess", "score")
"""What heads can be ranked by. Excess, the score less its null, is what chance does not explain."""

METHODS = ("mean", "zero", "resample")
"""What can stand in the place of a head's output in the causal check."""

DRAWS = 20
"""Random sets of heads that the causal check compares with."""

SEQUENCES = 8
"""Sequences of the causal check."""

PASSES = {
    "2-gram": 130.0,
    "3-gram": 520.0,
    "copying": 20.0,
    "copying_circuit": 45.0,
    "current_token": 25.0,
    "duplicate_token": 25.0,
    "first_token": 35.0,
    "induction": 25.0,
    "previous_token": 25.0,
    "retrieval": 350.0,
    "successor": 5.0,
}
"""What a search costs in forward passes of 4 x 100 tokens, measured on ``zoo:attention``."""

TIMED = "induction"
"""What is timed on one layer and one text where every channel has a matrix; other searches by their passes."""

TEXTS = 3
"""Texts that a search reads: the finder's default seeds."""

FEW_PASSES, SMALL = 60.0, 20_000_000
"""A search of so many passes of a model of so many parameters takes a moment."""


@dataclass(frozen=True)
class Scores:
    """What a finder found in one model.

    Attributes:
        model: its source.
        kind: of head.
        table: what `find_heads` returned.
        unit: what a row of it is, ``"head"`` or ``"channel"``.
        layers: of the model.
        looked: the layers that were looked at; None is all of them.
        notes: what the finder warned of.
    """

    model: str
    kind: str
    table: pd.DataFrame
    unit: str
    layers: int
    notes: tuple[str, ...] = ()
    looked: tuple[int, ...] | None = None

    @property
    def above(self) -> int:
        """Heads above their null with their whole interval."""
        return above_null(self.table)

    @property
    def clear(self) -> int:
        """How many heads are clearly of the kind; a quarter of the model at most, so that there are others."""
        return min(len(clear_heads(self.table)), max(1, len(self.table) // 4))

    def ranked(self, by: str) -> pd.DataFrame:
        """The table, best first by ``"excess"`` or ``"score"``, with ``percentile``: heads ranked lower, in percent."""
        table = self.table.sort_values(by, ascending=False, kind="stable", ignore_index=True)
        lower = table[by].rank(method="min") - 1
        return table.assign(percentile=100 * lower / max(1, len(table) - 1))


@dataclass(frozen=True)
class Check:
    """What a model loses without the best heads of a kind, and without as many others.

    Attributes:
        table: what `ablate_top_k` returned.
        decisive: the column that decides, ``"loss_second"``.
        k: how many heads were ablated.
        notes: what there is to know about the random sets.
    """

    table: pd.DataFrame
    decisive: str
    k: int
    notes: tuple[str, ...] = field(default=())


def about(kind: str) -> str:
    """One line that says what such heads do, with its source."""
    found = get_kind(kind)
    return f"Such heads {found.does} ({found.source})."


def options_of(kind: str, haystack: str) -> dict[str, str]:
    """The options that a kind's finder and its causal check are given."""
    return {"haystack": haystack} if kind == "retrieval" else {}


def layers_of(text: str) -> tuple[int, ...] | None:
    """Layers as people write them, ``"0-3, 8"``, in order and each once; None, which is all, for nothing.

    Raises:
        InputError: it names no layers.
    """
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        if not part:
            continue
        ends = part.split("-")
        if not (1 <= len(ends) <= 2 and all(end.isascii() and end.isdigit() and len(end) <= 4 for end in ends)):
            raise InputError(f"{text[:40]!r} names no layers; write numbers and ranges, as in: 0-3, 8.")
        first, last = int(ends[0]), int(ends[-1])
        if first > last:
            raise InputError(f"{part!r} is a range that ends before it begins; write the smaller number first.")
        found.update(range(first, last + 1))
    return tuple(sorted(found)) or None


def score_heads(
    model: HookedModel, source: str, kind: str, haystack: str = "segment", layers: tuple[int, ...] | None = None
) -> Scores:
    """Score every head or channel of a model for a kind, or those of some layers.

    Raises:
        InputError: the model cannot be asked about this kind: no tokenizer, a context that is too short; or it has
            no such layer.
    """
    chosen: dict[str, Any] = {} if layers is None else {"layers": list(layers)}
    with _heard() as notes:
        table = find_heads(model, kind, **options_of(kind, haystack), **chosen)
    return Scores(source, kind, table, unit_name(model.mixers), model.cfg.n_layers, tuple(notes), layers)


def seconds_for(model: HookedModel, kind: str, layers: tuple[int, ...] | None = None) -> float | None:
    """About how long `score_heads` takes, in seconds, from what is timed now; None where it takes a moment.

    A forward pass is timed, or one layer on one text where every channel has a matrix: what channels cost beside a pass
    differs tenfold between models. What takes a moment is told by size and kind and not by a clock, so that a busy
    machine shows the same page.
    """
    passes = PASSES.get(kind, PASSES["3-gram"])
    count = model.cfg.n_layers
    share = 1.0 if layers is None else len([layer for layer in layers if layer < count]) / count
    if kind not in ("successor", "copying_circuit") and unit_name(model.mixers) == "channel":
        began = time.perf_counter()
        with _heard():
            find_heads(model, TIMED, layers=[0], seeds=[0])
        return (time.perf_counter() - began) * TEXTS * count * share * passes / PASSES[TIMED]
    parameters = sum(parameter.numel() for parameter in model.wrapped.parameters())
    if passes <= FEW_PASSES and parameters <= SMALL:
        return None
    return passes * pass_seconds(model) * max(share, 1 / count)


def check_heads(
    model: HookedModel, scores: Scores, k: int, by: str, method: str = "mean", haystack: str = "segment"
) -> Check:
    """Ablate the best `k` heads and `DRAWS` random sets of as many in the same layers, on the task of their kind.

    Raises:
        InputError: k out of range, or too few others to compare with.
    """
    options: dict[str, Any] = options_of(scores.kind, haystack)
    with _heard() as notes:
        table = ablate_top_k(
            model,
            scores.table,
            k,
            by=by,
            method=method,
            draws=DRAWS,
            batch=SEQUENCES,
            **options,
        )
    return Check(table, get_kind(scores.kind).check.decisive, k, tuple(notes))


def best_sites(scores: Scores, k: int, by: str) -> list[str]:
    """Sites of the best `k` heads, best first: ``L1H2``."""
    return [str(site) for site in sites_of(top_heads(scores.table, k, by=by))]


def row_of(scores: Scores, site: str, by: str) -> pd.Series:
    """The row of one head in the ranked table, with ``rank`` counted from 1.

    Raises:
        InputError: the model has no such head; the message names the nearest ones.
    """
    ranked = scores.ranked(by)
    wanted = site.strip().upper().replace("MIXER", "mixer")
    found = ranked.index[ranked["site"] == wanted]
    if not len(found):
        close = nearest(wanted, map(str, ranked["site"]))
        raise InputError(
            f"{site!r} is no {scores.unit} of {scores.model}; " + (f"nearest: {', '.join(close)}." if close else "")
        )
    row: pd.Series = ranked.loc[found[0]].copy()
    row["rank"] = int(found[0]) + 1
    return row


def comparison(several: list[Scores]) -> pd.DataFrame:
    """Models by measures that do not grow with their number of heads, and the best head, which does.

    Returns:
        One row a model: ``model``, ``unit``, ``heads``, ``above null`` and its share in percent, ``median excess``,
        ``best`` (site) and ``best excess``, and ``best of N``: the best excess of as many heads as the smallest model
        has, on average over all ways of drawing them.
    """
    fewest = min(len(scores.table) for scores in several)
    rows = []
    for scores in several:
        excess = scores.table["excess"].to_numpy()
        best = scores.ranked("excess").iloc[0]
        rows.append(
            {
                "model": scores.model,
                "unit": scores.unit,
                "heads": len(excess),
                "above null": scores.above,
                "above null, %": 100 * scores.above / len(excess),
                "median excess": float(np.median(excess)),
                "best": best["site"],
                "best excess": float(best["excess"]),
                f"best of {fewest}": expected_best(scores.table, fewest),
            }
        )
    return pd.DataFrame(rows)


def pass_seconds(model: HookedModel) -> float:
    """A forward pass of 4 x 100 tokens: the quickest of three, since the first may compile and others may be busy."""
    ids = Vocabulary.of(model).plain()
    tokens = ids[torch.arange(400) % len(ids)].reshape(4, 100).to(model.cfg.device)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        with torch.no_grad():
            model(tokens)
        took.append(time.perf_counter() - began)
    return min(took)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What is warned of inside a ``with`` block; one computation runs at a time, so none of another's."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield notes
    notes += dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning)
