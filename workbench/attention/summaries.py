"""What `HookedModel.attention_statistics` returns: tensors a mixer, and how to look at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.attention.reductions import LINEAR
from workbench.errors import InputError
from workbench.kernels.streaming import Streamed

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# Numbers of a row, which have an average over rows; and by what a row is known to read anything.
_OF_ROWS = {
    "mass": "mass",
    "energy": "energy",
    "entropy": "mass",
    "mean_distance_by_mass": "mass",
    "mean_distance_by_energy": "energy",
}
TOP_SHARE = "top_share"


@dataclass(frozen=True)
class MixerStatistics:
    """Statistics of one mixer.

    Attributes:
        layer, mixer: where it is; `mixer` is 0 for a layer's first.
        family: of its adapter.
        unit: ``"head"`` or ``"channel"``: what carries a matrix of its own.
        averages: of each reduction that belongs to rows, over the rows that read anything. ``top_share`` is the share
            of a row's mass that its top entries carry.
        histogram: mass by distance, summed over the batch; None where it was not asked for.
        tokens: every reduction at every token, ``[batch, time, units]``, NaN (-1 for sources) at pads; None where only
            averages were to be kept.
    """

    layer: int
    mixer: int
    family: str
    unit: Literal["head", "channel"]
    averages: dict[str, Float[Tensor, " units"]]
    histogram: Float[Tensor, "units bins"] | None = field(default=None, repr=False)
    tokens: Streamed | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        """``3``, or ``3.mixer1`` for a mixer that is not its layer's first."""
        return f"{self.layer}.mixer{self.mixer}" if self.mixer else str(self.layer)


@dataclass(frozen=True)
class AttentionStatistics:
    """Statistics of every mixer of a model that was asked about, in the order in which they ran.

    Attributes:
        model: the model's name.
        scope: ``"core"`` or ``"mixer"``.
        reductions: what was asked for; `workbench.kernels.Streamed` defines each.
        counted: False at pads, which are neither rows nor sources.
        edges: of the histograms' bins, in tokens.
        mixers: one entry a mixer.
    """

    model: str
    scope: str
    reductions: tuple[str, ...]
    counted: Bool[Tensor, "batch time"] = field(repr=False)
    edges: tuple[int, ...] = field(repr=False)
    mixers: tuple[MixerStatistics, ...] = field(repr=False)

    def _repr_html_(self) -> str:
        """A card with the mean of every average over a mixer's heads, for notebooks."""
        from workbench.report.cards import Card, CardTable, render_card

        names = list(self.mixers[0].averages) if self.mixers else []
        rows = [
            (
                *(mixer.place, mixer.family, f"{_units(mixer):,} {mixer.unit}s"),
                *(float(mixer.averages[name].double().nanmean()) for name in names),
            )
            for mixer in self.mixers
        ]
        columns = ("layer", "family", "matrices", *(name.replace("_", " ") for name in names))
        table = CardTable(columns, rows, frozenset(range(3, 3 + len(names))))
        facts = {"scope": self.scope, "rows": f"{int(self.counted.sum()):,} tokens"}
        note = "Averages over tokens and heads; to_pandas() has them by head, plot(name) draws them."
        return render_card(Card(f"Attention statistics of {self.model}", facts, table, note))

    def __getitem__(self, reduction: str) -> list[Tensor]:
        """One tensor a mixer, ``[batch, time, units]`` (``top_values`` and ``top_sources`` with one more axis).

        Raises:
            InputError: it was not computed, or only averages were kept.
        """
        kept = [mixer.tokens for mixer in self.mixers if mixer.tokens is not None]
        if not kept:
            raise InputError(f"There is no {reduction!r} at every token: only averages were kept (per_token=False).")
        streamed = not LINEAR.issuperset(self.reductions)
        found = [getattr(tokens, reduction, None) for tokens in kept if reduction != "mass" or streamed]
        present = [tensor for tensor in found if isinstance(tensor, Tensor)]
        if len(present) < len(kept):
            raise InputError(f"There is no {reduction!r} here; asked for were {', '.join(self.reductions)}.")
        return present

    def average(self, reduction: str) -> list[Float[Tensor, " _"]]:
        """One tensor ``[units]`` a mixer: the average over all rows that read anything. Raises InputError for none."""
        if not all(reduction in mixer.averages for mixer in self.mixers):
            raise InputError(
                f"There is no average of {reduction!r} here; there is {', '.join(self.mixers[0].averages)}."
            )
        return [mixer.averages[reduction] for mixer in self.mixers]

    def to_pandas(self) -> pd.DataFrame:
        """One row a head (or channel): ``layer``, ``mixer``, ``head``, ``family``, ``unit`` and the averages."""
        import pandas as pd

        tables = []
        for mixer in self.mixers:
            columns = {name: value.double().cpu().numpy() for name, value in mixer.averages.items()}
            count = len(next(iter(columns.values()), ())) if columns else _units(mixer)
            fixed = {"layer": mixer.layer, "mixer": mixer.mixer, "head": range(count)}
            tables.append(pd.DataFrame({**fixed, "family": mixer.family, "unit": mixer.unit, **columns}))
        return pd.concat(tables, ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Averages and histograms as plain numbers and lists, for JSON."""
        return {
            "model": self.model,
            "scope": self.scope,
            "reductions": list(self.reductions),
            "rows": int(self.counted.sum()),
            "edges": list(self.edges) if any(mixer.histogram is not None for mixer in self.mixers) else None,
            "mixers": [
                {
                    "layer": mixer.layer,
                    "mixer": mixer.mixer,
                    "family": mixer.family,
                    "unit": mixer.unit,
                    "averages": {name: value.tolist() for name, value in mixer.averages.items()},
                    "histogram": None if mixer.histogram is None else mixer.histogram.tolist(),
                }
                for mixer in self.mixers
            ],
        }

    def plot(self, reduction: str | None = None) -> go.Figure:
        """Heat map of an average (the first by default), a row a layer. Raises InputError where there is none."""
        from workbench.figures import score_map

        first = next(iter(self.mixers[0].averages), "average")
        reduction = first if reduction is None else reduction
        rows = [value.double().cpu().numpy() for value in self.average(reduction)]
        unit = "channel" if all(mixer.unit == "channel" for mixer in self.mixers) else "head"
        places = [mixer.place for mixer in self.mixers]
        return score_map(rows, name=reduction.replace("_", " "), unit=unit, layers=places)


def averages(found: Streamed, counted: Bool[Tensor, "batch time"]) -> dict[str, Float[Tensor, " units"]]:
    """Averages over the rows that count and read anything; NaN for a unit without such a row."""
    results: dict[str, Tensor] = {}
    for name, by in _OF_ROWS.items():
        value, weight = getattr(found, name), getattr(found, by)
        if value is None or weight is None or bool(value[counted].isnan().all()):  # as a mass that was not computed
            continue
        results[name] = _average(value, counted[..., None] & (weight > 0) if name != by else counted[..., None])
    if found.top_values is not None:
        share = found.top_values.abs().sum(-1) / found.mass
        results[TOP_SHARE] = _average(share, counted[..., None] & (found.mass > 0))
    return results


def _average(value: Float[Tensor, "batch time units"], where: Bool[Tensor, "batch time #units"]) -> Tensor:
    where = where.expand_as(value)
    total = torch.where(where, value, 0).sum((0, 1), dtype=torch.float64)
    return (total / where.sum((0, 1))).to(value.dtype)


def _units(mixer: MixerStatistics) -> int:
    assert mixer.histogram is not None or mixer.tokens is not None  # something was asked for
    return len(mixer.histogram) if mixer.histogram is not None else mixer.tokens.mass.shape[-1]  # type: ignore[union-attr]
