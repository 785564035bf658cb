"""Features found by text: in their labels, and in their examples, those first that fire on the text itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.saes.features.store import FeatureStore

# Only rows that hold the text are looked into; the text touches the peak where it is found in what is left of the
# example when all but the peak's token and what reaches over its edges is cut off.
_EXAMPLES = """
with matching as (
    select e.feature, e.value, e.text, length(array_to_string(e.tokens[: e.position - e.start], '')) as before,
        length(e.tokens[e.position - e.start + 1]) as size
    from examples e
    where e.row in (select row from rows where contains({row}, $needle))
        and e.band <> 'silent' and contains({text}, $needle)
), touched as (
    select feature, value, text[greatest(before + 2 - $length, 1) : before + size + $length - 1] as around from matching
)
select feature, 'examples' as "where", count(*) as hits,
    count(*) filter (contains({around}, $needle)) as at_peak,
    max(value) filter (contains({around}, $needle)) as value
from touched group by feature order by at_peak desc, hits desc, feature limit $limit
"""


def search(
    store: FeatureStore, text: str, where: Literal["examples", "labels", "all"], *, case: bool, limit: int
) -> pd.DataFrame:
    """Features whose label, or whose examples, hold a piece of text, as it stands: markup and patterns mean nothing.

    The text of every example is looked through, without an index: a phrase may go over any number of tokens.

    Args:
        case: whether upper and lower case differ.
        limit: at most so many features of either kind.

    Returns:
        ``feature``, ``label``, ``where`` (``labels`` or ``examples``), ``hits`` (examples that hold the text, of all
        bands but silent), ``at_peak`` (those whose highest token is of the text), ``value`` (highest activation there).
        Labels come first, then the features that most often fire on the text.

    Raises:
        InputError: nothing to look for, or no such place.
    """
    import numpy as np
    import pandas as pd

    if not text:
        raise InputError("There is nothing to search for: the text is empty.")
    if where not in ("examples", "labels", "all"):
        raise InputError(f"where is {where!r}; it is one of 'examples', 'labels' and 'all'.")
    parts = []
    if where != "examples":
        table = store.labels.table()
        needle = text if case else text.lower()
        hit = [needle in (label if case else label.lower()) for label in table["label"]]
        found = table.loc[np.array(hit, dtype=bool), ["feature"]].head(limit)
        parts.append(found.assign(where="labels", hits=0, at_peak=0, value=float("nan")))
    if where != "labels":
        parts.append(_in_examples(store, text, case, limit))
    found = pd.concat(parts, ignore_index=True)
    known = store.labels.table().set_index("feature")["label"]
    found.insert(1, "label", found["feature"].map(known).astype(object).fillna(""))
    return found


def _in_examples(store: FeatureStore, text: str, case: bool, limit: int) -> pd.DataFrame:
    columns = {"row": "text", "text": "e.text", "around": "around"}
    folded = {name: column if case else f"lower({column})" for name, column in columns.items()}
    values = {"needle": text if case else text.lower(), "length": len(text), "limit": limit}
    return store.run(_EXAMPLES.format(**folded), values).df()
