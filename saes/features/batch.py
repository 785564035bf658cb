"""Some features of a store read together: one question a table, and not one a feature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import InputError
from workbench.saes.features.example import Example

if TYPE_CHECKING:
    import pandas as pd

    from workbench.saes.features.store import FeatureStore

# The rows are looked up before the pieces shown are cut out of them: a join would read the text of all rows.
_EXAMPLES = """
with chosen as (
    select feature, band::varchar as band, rank, row, position, start, value, activations from example_files
    where {features} and rank < {limit}
), texts as (
    select row, token_ids, tokens from rows where row in (select row from chosen)
)
select c.*, list_slice(t.token_ids, c.start + 1, c.start + len(c.activations)) as token_ids,
    list_slice(t.tokens, c.start + 1, c.start + len(c.activations)) as tokens
from chosen c join texts t using (row) order by c.feature, c.rank
"""
_ALL = 2**31 - 1


class FeatureBatch:
    """What a store knows of some features; each table is read when it is first asked for, for all of them at once.

    Methods are those of `FeatureStore`, and so are their results.

    Args:
        store: where they are.
        features: their numbers.

    Raises:
        InputError: a feature that is not there.
    """

    def __init__(self, store: FeatureStore, features: Sequence[int]) -> None:
        self._store = store
        self.features = tuple(store.checked(feature) for feature in features)
        self._examples: dict[int | None, dict[int, list[Example]]] = {}

    def examples(
        self, feature: int, band: str | Sequence[str] | None = None, limit: int | None = None
    ) -> list[Example]:
        """See `FeatureStore.examples`."""
        bands = self._store.bands(band)
        if limit not in self._examples:
            self._examples[limit] = self._read_examples(limit)
        found = self._examples[limit][self._member(feature)]
        return [one for name in bands for one in found if one.band == name]

    def logits(self, feature: int) -> pd.DataFrame:
        """See `FeatureStore.logits`."""
        return self._logits[self._member(feature)].copy()

    def histogram(self, feature: int) -> pd.DataFrame:
        """See `FeatureStore.histogram`."""
        import pandas as pd

        top, counts = self._histograms.get(self._member(feature), (0.0, []))
        if top == 0:
            counts = []
        width = top / max(1, len(counts))
        return pd.DataFrame(
            {
                "low": [width * number for number in range(len(counts))],
                "high": [width * (number + 1) for number in range(len(counts))],
                "count": counts,
            }
        )

    def top_tokens(self, feature: int) -> pd.DataFrame:
        """See `FeatureStore.top_tokens`."""
        return self._top_tokens[self._member(feature)].copy()

    def neighbours(self, feature: int, by: Literal["decoder", "firing"] = "decoder") -> pd.DataFrame:
        """See `FeatureStore.neighbours`."""
        if by not in ("decoder", "firing"):
            raise InputError(f"by is {by!r}; neighbours are by 'decoder' or by 'firing'.")
        tables = self._nearest if by == "decoder" else self._partners
        return tables[self._member(feature)].copy()

    def neurons(self, feature: int) -> pd.DataFrame:
        """See `FeatureStore.neurons`."""
        return self._neurons[self._member(feature)].copy()

    @cached_property
    def _logits(self) -> dict[int, pd.DataFrame]:
        return self._tables("logits", "token_id, token, effect")

    @cached_property
    def _top_tokens(self) -> dict[int, pd.DataFrame]:
        return self._tables("top_tokens", "token_id, token, count, share, mean, max")

    @cached_property
    def _nearest(self) -> dict[int, pd.DataFrame]:
        return self._tables("nearest", "other, cosine", "other")

    @cached_property
    def _partners(self) -> dict[int, pd.DataFrame]:
        return self._tables("partners", "other, count, phi, jaccard, pmi", "other")

    @cached_property
    def _neurons(self) -> dict[int, pd.DataFrame]:
        return self._tables("neurons", "neuron, correlation")

    @cached_property
    def _histograms(self) -> dict[int, tuple[float, list[int]]]:
        found = self._store.run(f"select feature, max, counts from histograms where {self._where}", []).fetchall()
        return {feature: (top, counts) for feature, top, counts in found}

    @property
    def _where(self) -> str:
        """That a row is of one of the features, so that files and row groups without them are not read."""
        if not self.features:
            return "false"
        low, high = min(self.features), max(self.features)
        several = f" and feature in ({', '.join(map(str, self.features))})" if high - low >= len(self.features) else ""
        return f"feature between {low} and {high}{several}"

    def _member(self, feature: int) -> int:
        if feature not in self.features:
            raise InputError(f"Feature {feature} is none of the {len(self.features)} that were read.")
        return feature

    def _tables(self, name: str, columns: str, others: str | None = None) -> dict[int, pd.DataFrame]:
        """Every feature's rows of a table, by rank.

        Args:
            others: a column of features, which is called ``feature`` in the result, and has its label beside it.
        """
        statement = f"select feature as of_feature, {columns} from {name} where {self._where} order by of_feature, rank"
        table = self._store.run(statement, []).df()
        if others is not None:
            table = self._store.labelled(table.rename(columns={others: "feature"}), ("label",), at=2)
        whose = table.pop("of_feature").to_numpy()
        starts, stops = (whose.searchsorted(self.features, side) for side in ("left", "right"))
        return {
            feature: table.iloc[start:stop].reset_index(drop=True)
            for feature, start, stop in zip(self.features, starts, stops, strict=True)
        }

    def _read_examples(self, limit: int | None) -> dict[int, list[Example]]:
        most = _ALL if limit is None else int(limit)
        found: dict[int, list[Example]] = {feature: [] for feature in self.features}
        rows: list[Any] = self._store.run(_EXAMPLES.format(features=self._where, limit=most), []).fetchall()
        for feature, band, rank, row, position, start, value, activations, ids, tokens in rows:
            shown = tuple(ids), tuple(tokens), tuple(activations)
            found[feature].append(Example(feature, band, rank, row, position, start, value, *shown))
        return found
