"""What an export asks of a feature store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import pandas as pd

from workbench.errors import InputError

TOGETHER = 256
"""Features whose tables are read together: their examples' tokens take a few tens of megabytes."""


@runtime_checkable
class FeatureTables(Protocol):
    """What exports ask of a feature: a part of `FeatureBatch`."""

    def examples(self, feature: int, band: str | None = None, limit: int | None = None) -> Sequence[Any]: ...

    def logits(self, feature: int) -> pd.DataFrame: ...

    def histogram(self, feature: int) -> pd.DataFrame: ...

    def neighbours(self, feature: int, by: Literal["decoder", "firing"] = "decoder") -> pd.DataFrame: ...


@runtime_checkable
class FeatureReader(Protocol):
    """The part of `FeatureStore` that exports read; where its ``sae`` is at hand, they write directions, too."""

    @property
    def info(self) -> Any: ...

    def features(self) -> pd.DataFrame: ...

    def batch(self, features: Sequence[int]) -> FeatureTables: ...


def with_tables(store: FeatureReader, rows: Sequence[Any]) -> Iterator[tuple[Any, FeatureTables]]:
    """Rows of ``store.features()``, each with what its tables are read from; many are read at a time."""
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        tables = store.batch([int(row.feature) for row in some])
        for row in some:
            yield row, tables


def chosen_features(table: pd.DataFrame, features: Sequence[int] | None) -> pd.DataFrame:
    """The rows of the features to export, in the order in which a budget is spent on them.

    Args:
        table: ``store.features()``.
        features: their numbers; None for all: labelled ones first, then by how often they fire, dead ones last.

    Raises:
        InputError: a feature that the store lacks, or one twice.
    """
    if features is None:
        ranked = table.assign(unlabelled=table["label"].fillna("") == "")
        ranked = ranked.sort_values(["unlabelled", "density"], ascending=[True, False], kind="stable")
        return ranked.drop(columns="unlabelled")
    listed = [int(feature) for feature in features]
    known = table.set_index("feature", drop=False)
    missing = [feature for feature in listed if feature not in known.index]
    if missing:
        raise InputError(f"The store has no feature {missing[0]}; it has 0 to {int(table['feature'].max())}.")
    if not listed or len(set(listed)) < len(listed):
        raise InputError(f"Features are named once each, at least one; got {listed[:10]}.")
    return known.loc[listed].reset_index(drop=True)
