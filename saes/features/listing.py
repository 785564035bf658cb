"""The list of a store's features as people look through it: filtered, sorted and searched, some rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from workbench.errors import InputError, offer

if TYPE_CHECKING:
    import pandas as pd

    from workbench.saes.features.store import FeatureStore

SORTS = {
    "feature": "feature",
    "density": "density",
    "max": "max",
    "mean": "mean",
    "label": "label",
    "telling": "telling",
    "match": "place",
}
"""What a list may be sorted by, and the column that it is.

``match``: features with the text in their labels first, then those with it high among their top tokens; alike ones, and
all where no text is searched for, as by ``telling`` descending. ``telling``, descending: features worth a look first,
the strongest of those that fire seldom but not by accident, at 20 tokens at least and at less than 1 % of them.
"""

_ORDER = """
with hits as (
    select feature, min(rank) as rank from top_tokens where contains(lower(token), $needle) group by feature
), known as (
    select f.feature, f.density, f.max, if(f.dead, null, f.mean) as mean, f.dead, l.label, l.source,
        rank() over (order by (f.count >= 20 and f.density < 0.01), f.max) as telling,
        case when $needle = '' then 0 when contains(lower(l.label), $needle) then -1 else h.rank end as place
    from features f left join named l using (feature) left join hits h using (feature)
)
select feature from known
where place is not null and density between $least and $most
    and ($labelled is null or (label is not null) = $labelled) and ($dead is null or dead = $dead)
order by {column} {direction} nulls last, if($like = 'match', -telling, 0), feature
"""

_ROWS = """
select f.feature, coalesce(l.label, '') as label, coalesce(l.source, 'none') as source, f.density, f.count,
    f.max, f.dead, coalesce(t.tokens, []) as tokens
from features f left join named l using (feature) left join (
    select feature, list(token order by rank) as tokens from top_tokens
    where feature in ({features}) and rank < $tokens group by feature
) t using (feature)
where f.feature in ({features})
"""


@dataclass(frozen=True)
class FeatureQuery:
    """Which features, in which order.

    Attributes:
        text: what their label or one of their top tokens holds, whatever its case; as it stands, no pattern.
        least, most: share of tokens at which they fire.
        labelled: with a label, or without; None for both.
        dead: which fire nowhere, or somewhere; None for both.
        by: one of `SORTS`.
        descending: the largest first.
    """

    text: str = ""
    least: float = 0.0
    most: float = 1.0
    labelled: bool | None = None
    dead: bool | None = None
    by: str = "feature"
    descending: bool = False


def list_features(store: FeatureStore, query: FeatureQuery) -> Int[np.ndarray, " found"]:
    """Numbers of the features that a query means, in its order; ties by number, of ``match`` by ``telling``.

    Raises:
        InputError: no such order; bounds that leave nothing between them.
    """
    if query.by not in SORTS:
        raise InputError(f"Features cannot be sorted by {query.by!r}; {offer(query.by, SORTS)}.")
    if not query.least <= query.most:
        raise InputError(f"No density lies between {query.least:g} and {query.most:g}.")
    statement = _ORDER.format(column=SORTS[query.by], direction="desc" if query.descending else "asc")
    values: dict[str, Any] = {
        "needle": query.text.lower(),
        "like": query.by,
        "least": query.least,
        "most": query.most,
        "labelled": query.labelled,
        "dead": query.dead,
    }
    return np.asarray(store.run(statement, values, named=True).fetchnumpy()["feature"])


def telling_feature(store: FeatureStore) -> int:
    """A feature worth a first look: the first of those ordered by ``telling``."""
    return int(list_features(store, FeatureQuery(by="telling", descending=True))[0])


def feature_rows(store: FeatureStore, features: Sequence[int], *, tokens: int = 4) -> pd.DataFrame:
    """What a list shows of some features.

    Returns:
        a row a feature, in the order asked for: ``feature``, ``label`` (empty where there is none), ``source`` of it
        (``human``, ``auto``, ``none``), ``density``, ``count``, ``max``, ``dead``, ``tokens`` (a list: those on which
        its activations add up to most).

    Raises:
        InputError: a feature that is not there.
    """
    wanted = [store.checked(feature) for feature in features]
    numbers = ", ".join(map(str, wanted)) or "-1"
    found = store.run(_ROWS.format(features=numbers), {"tokens": tokens}, named=True).df().set_index("feature")
    found["tokens"] = [list(one) for one in found["tokens"]]
    return found.reindex(wanted).reset_index()
