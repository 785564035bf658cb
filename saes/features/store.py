"""A feature store as it is read: tables of features, examples, labels; open for reading only, and cheap to open."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import InputError
from workbench.saes.features.example import Example
from workbench.saes.features.labels import FILE as LABELS
from workbench.saes.features.labels import LabelStore
from workbench.saes.features.ledger import FORMAT, Ledger
from workbench.saes.features.options import FeatureOptions

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pandas as pd
    from jaxtyping import Int

    from workbench.model import HookedModel
    from workbench.saes.autoencoder import SparseAutoencoder
    from workbench.saes.features.batch import FeatureBatch
    from workbench.saes.features.listing import FeatureQuery

VIEWS = ("features", "histograms", "top_tokens", "partners", "nearest", "logits", "neurons", "rows", "codes")
"""Tables that are files as they are; ``examples`` has the tokens put to them, ``labels`` comes out of SQLite."""

_EXAMPLES = """
create view examples as
select e.feature, e.band, e.rank, e.row, e.position, e.value, e.start,
    list_slice(r.token_ids, e.start + 1, e.start + len(e.activations)) as token_ids,
    list_slice(r.tokens, e.start + 1, e.start + len(e.activations)) as tokens,
    array_to_string(list_slice(r.tokens, e.start + 1, e.start + len(e.activations)), '') as text, e.activations
from example_files e join rows r using (row)
"""


_NOTED = ("model", "hook", "site", "d_sae", "length", "dead", "no_logits", "final_scale", "options", "source")


@dataclass(frozen=True)
class StoreInfo:
    """What a store is of.

    Attributes:
        model: its name.
        hook, site: where the autoencoder reads, and the same in words.
        d_sae: features.
        length: tokens a row has at most.
        rows, tokens: rows, and tokens that were read, so far.
        shards: pieces of the text that are done.
        dead: features that fire nowhere; None while the pass is not finished.
        finished: whether all tables are there.
        no_logits: why there are no logit effects; None where there are.
        final_scale: by what the final norm divides on this text, in the middle; None where there are no logit effects,
            or of a store that an earlier version made. An activation over it, times an effect, is in logits.
        options: of `collect_features`.
        source: what the text was, as plain values.
    """

    model: str
    hook: str
    site: str
    d_sae: int
    length: int
    rows: int
    tokens: int
    shards: int
    dead: int | None
    finished: bool
    no_logits: str | None
    final_scale: float | None
    options: dict[str, Any]
    source: dict[str, Any]


class FeatureStore:
    """Everything that a pass found, feature by feature; `collect_features` makes one.

    Only labels are ever written, through `labels`. Every process opens it for itself; nothing is locked.

    Args:
        folder: of the store.

    Raises:
        InputError: the folder is no store, or one of another format.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        form = self._ledger("format")
        if form != FORMAT:
            raise InputError(f"{folder} is a feature store of format {form}; this version reads format {FORMAT}.")

    def __repr__(self) -> str:
        info = self.info
        state = "" if info.finished else ", not finished"
        return f"FeatureStore({info.d_sae} features of {info.model} at {info.site}, {info.tokens} tokens{state})"

    def _repr_html_(self) -> str:
        """A card of what the store is of, for notebooks."""
        from workbench.report.cards import Card, render_card

        info = self.info
        facts = {
            "model": info.model,
            "site": info.site,
            "features": f"{info.d_sae:,}" + ("" if info.dead is None else f", {info.dead:,} dead"),
            "read": f"{info.tokens:,} tokens in {info.rows:,} rows" + ("" if info.finished else ", not finished"),
        }
        note = "features() is the table; examples(feature), search(text) and logits(feature) look closer."
        return render_card(Card("Feature store", facts, note=note))

    @property
    def info(self) -> StoreInfo:
        """What the store is of, and how far the pass has come."""
        ledger = Ledger(self.folder)
        try:
            shards = ledger.shards()
            return StoreInfo(
                **{name: ledger.info(name) for name in _NOTED},
                rows=sum(shard.rows for shard in shards),
                tokens=sum(shard.tokens for shard in shards),
                shards=len(shards),
                finished=bool(ledger.info("finished")),
            )
        finally:
            ledger.close()

    @cached_property
    def sae(self) -> SparseAutoencoder:
        """The autoencoder, as it was when the features were collected."""
        from workbench.saes.files import load_sae

        return load_sae(self.folder / "sae")

    @cached_property
    def labels(self) -> LabelStore:
        """What features are called; read and written."""
        return LabelStore(self.folder / LABELS, self._d_sae)

    def batch(self, features: Sequence[int]) -> FeatureBatch:
        """Some features, with the methods of this class: each table is then read once, and not once a feature.

        Raises:
            InputError: a feature that is not there.
        """
        from workbench.saes.features.batch import FeatureBatch

        return FeatureBatch(self, features)

    def features(self) -> pd.DataFrame:
        """A row a feature.

        Returns:
            ``feature``, ``label``, ``source`` (of the label: ``human``, ``auto``, ``none``), ``density`` (share of the
            tokens read at which it fires), ``count`` of these tokens, ``rows`` in which it fires, ``max``; of the
            activations that are not zero ``mean`` and the quantiles ``q05`` ``q25`` ``q50`` ``q75`` ``q95`` ``q99``;
            ``dead``.
        """
        table = self.query("select * exclude (sum, sum_squares) from features order by feature")
        return self.labelled(table, ("label", "source"))

    def examples(
        self, feature: int, band: str | Sequence[str] | None = None, limit: int | None = None
    ) -> list[Example]:
        """Pieces of text that show what a feature is; what each band holds says `collect_features`.

        Args:
            band: one or several; None for all, in the order top, quarters, random, silent.
            limit: at most so many of each band.

        Raises:
            InputError: no such feature or band.
        """
        return self.batch([feature]).examples(feature, band, limit)

    def logits(self, feature: int) -> pd.DataFrame:
        """The tokens that a unit of the feature raises and lowers most: ``token_id``, ``token``, ``effect``, falling.

        Empty where its direction is not one of the residual stream; ``info.no_logits`` says why.
        """
        return self.batch([feature]).logits(feature)

    def histogram(self, feature: int) -> pd.DataFrame:
        """How its activations that are not zero are spread: ``low``, ``high``, ``count``; empty of a dead feature."""
        return self.batch([feature]).histogram(feature)

    def top_tokens(self, feature: int) -> pd.DataFrame:
        """The tokens on which its activations add up to most.

        Returns:
            ``token_id``, ``token``, ``count`` (of occurrences at which it fires), ``share`` of all occurrences of that
            token, ``mean`` and ``max`` activation where it fires.
        """
        return self.batch([feature]).top_tokens(feature)

    def neighbours(self, feature: int, by: Literal["decoder", "firing"] = "decoder") -> pd.DataFrame:
        """Features that write nearly the same, or that fire at the same tokens.

        Returns:
            by decoder: ``feature``, ``label``, ``cosine``; by firing: ``feature``, ``label``, ``count`` (tokens at
            which both fire), ``phi``, ``jaccard``, ``pmi`` (nats), the highest phi first.

        Raises:
            InputError: no such feature, or another `by`.
        """
        return self.batch([feature]).neighbours(feature, by)

    def neurons(self, feature: int) -> pd.DataFrame:
        """Neurons whose values go up and down with the feature: ``neuron``, ``correlation``; empty unless asked for."""
        return self.batch([feature]).neurons(feature)

    def activations(self, feature: int) -> pd.DataFrame:
        """All tokens at which a feature fires: ``row``, ``position``, ``value``."""
        statement = "select row, position, value from codes where feature = ? order by row, position"
        return self.run(statement, [self.checked(feature)]).df()

    def find(self, query: FeatureQuery) -> Int[np.ndarray, " found"]:
        """Numbers of the features that a query means, in its order; see `workbench.saes.features.listing`."""
        from workbench.saes.features.listing import list_features

        return list_features(self, query)

    def is_of(self, model: HookedModel) -> bool:
        """Whether the features were read from these very weights."""
        from workbench.saes.streams import weights_fingerprint

        noted: dict[str, Any] = self._ledger("fingerprint")
        return bool(noted["weights of the model"] == weights_fingerprint(model))

    def row(self, row: int) -> tuple[list[int], list[str]]:
        """Token ids and tokens of a row of the text. Raises InputError where there is none."""
        found = self._rows({row})
        if row not in found:
            raise InputError(f"There is no row {row}; they go from 0 to {self.info.rows - 1}.")
        return found[row]

    def search(
        self, text: str, where: Literal["examples", "labels", "all"] = "all", *, case: bool = False, limit: int = 100
    ) -> pd.DataFrame:
        """Features whose label, or whose examples, hold a piece of text; see `workbench.saes.features.search`."""
        from workbench.saes.features.search import search

        return search(self, text, where, case=case, limit=limit)

    def query(self, sql: str) -> pd.DataFrame:
        """Ask the tables in SQL (DuckDB's): those of `VIEWS`, ``examples`` and ``labels``.

        Raises:
            InputError: what DuckDB says of a query that is wrong.
        """
        import duckdb

        cursor = self._connection.cursor()  # of its own, as in `run`
        cursor.register("labels", self.labels.table())
        try:
            return cursor.execute(sql).df()
        except duckdb.Error as error:
            raise InputError(f"The query fails: {error}") from error

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        """A database in memory whose tables are views of the files; they do not change once the pass is finished."""
        import duckdb

        if not self._ledger("finished"):
            info = self.info
            raise InputError(
                f"{self.folder} is not finished: {info.shards} shards of {info.tokens} tokens are done. Wait for the "
                "pass, or call collect_features again if it was killed; it goes on where it was."
            )
        connection = duckdb.connect(":memory:")
        for view in (*VIEWS, "examples"):
            # A glob, so that a folder's own brackets and quotes have to be spelled out.
            files = f"{glob.escape(str(self.folder.absolute()))}/{view}/{view}-*.parquet".replace("'", "''")
            name = "example_files" if view == "examples" else view
            connection.execute(f"create view {name} as select * from read_parquet('{files}')")
        connection.execute(_EXAMPLES)
        return connection

    @cached_property
    def _d_sae(self) -> int:
        return int(self._ledger("d_sae"))

    def _ledger(self, key: str) -> Any:
        ledger = Ledger(self.folder)
        try:
            return ledger.info(key)
        finally:
            ledger.close()

    def run(
        self, statement: str, values: Sequence[Any] | Mapping[str, Any], *, named: bool = False
    ) -> duckdb.DuckDBPyConnection:
        """Run a statement with values in the place of its parameters.

        Args:
            named: whether it asks for labels, too, which are the table ``named``.
        """
        # A cursor of its own, so that threads of a server do not take each other's results.
        cursor = self._connection.cursor()
        if named:
            cursor.register("named", self.labels.table().astype({"label": "string", "source": "string"}))
        return cursor.execute(statement, values)

    def checked(self, feature: int) -> int:
        """A feature's number. Raises InputError where there is no such feature."""
        if not 0 <= feature < self._d_sae:
            raise InputError(f"There is no feature {feature}; they go from 0 to {self._d_sae - 1}.")
        return int(feature)

    def bands(self, band: str | Sequence[str] | None = None) -> list[str]:
        """Names of bands of examples, in their order. Raises InputError where there is no such band."""
        known = ["top", *FeatureOptions(**self._ledger("options")).band_names, "random", "silent"]
        asked = known if band is None else [band] if isinstance(band, str) else list(band)
        for one in asked:
            if one not in known:
                raise InputError(f"No band is called {one!r}; there is: {', '.join(known)}.")
        return asked

    def _rows(self, rows: set[int]) -> dict[int, tuple[list[int], list[str]]]:
        if not rows:
            return {}
        wanted = ", ".join(str(int(row)) for row in sorted(rows))
        found = self.run(f"select row, token_ids, tokens from rows where row in ({wanted})", []).fetchall()
        return {row: (ids, tokens) for row, ids, tokens in found}

    def labelled(self, table: pd.DataFrame, columns: Sequence[str], at: int = 1) -> pd.DataFrame:
        """The table with columns of its features' labels from a place on."""
        known = self.labels.table().set_index("feature")
        for place, column in enumerate(columns, at):
            missing = "none" if column == "source" else ""
            table.insert(place, column, table["feature"].map(known[column]).astype(object).fillna(missing))
        return table
