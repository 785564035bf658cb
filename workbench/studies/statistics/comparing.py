"""Two studies side by side: the same edits, how much more they do in one than in the other."""

from __future__ import annotations

from itertools import product
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.errors import InputError
from workbench.studies.statistics.discoveries import benjamini_hochberg
from workbench.studies.statistics.effects import mean_of_groups
from workbench.studies.statistics.interactions import JOIN
from workbench.studies.statistics.layers import depths
from workbench.studies.statistics.resampling import FEWEST, draw_counts, intervals, resampled_means
from workbench.studies.statistics.results import Results
from workbench.studies.statistics.samples import judged_split
from workbench.studies.statistics.sign_flips import sign_flip_p

COLUMNS = [
    "match",
    "model_a",
    "model_b",
    "family",
    "metric",
    "label",
    "dose",
    "effect_a",
    "effect_b",
    "difference",
    "low",
    "high",
    "paired",
    "n_a",
    "n_b",
    "p",
    "q",
]


Pair: TypeAlias = tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]
"""What two things have in common, and the prompts of each: index prompt_id, columns effect and group."""


def compare_studies(a: Results, b: Results) -> pd.DataFrame:
    """Differences of effects between two studies, b less a.

    Models of the same name are matched, and in them edits of the same family, label and dose. Where no name is in both,
    every model of one is set beside every one of the other: by label where labels are in both, and by depth, the mean
    effect of each layer beside that of the layer in the other model that lies at the same share of its layers.

    Returns:
        One row a matched edit (``match`` ``"label"``) or layer (``"depth"``) and metric: ``effect_a``, ``effect_b``,
        their ``difference`` with ``low`` and ``high``. ``paired`` where both were measured on the same prompts (by
        prompt id): then the effects are of those prompts alone, and the difference is taken prompt by prompt, with
        ``p`` of a sign-flip test and ``q`` corrected within models, family and metric. Else the groups of the two are
        resampled independently, and there is no p. ``n_a`` and ``n_b`` count prompt groups.

    Raises:
        InputError: the studies have no metric, or no family of edits, in common.
    """
    frames = [_judged(results) for results in (a, b)]
    _check_common(frames, a, b)
    shared = [model for model in frames[0]["model"].unique() if model in set(frames[1]["model"])]
    pairs = [(model, model) for model in shared] or list(
        product(frames[0]["model"].unique(), frames[1]["model"].unique())
    )
    rows: list[dict[str, Any]] = []
    for model_a, model_b in pairs:
        parts = [frame[frame["model"] == model] for frame, model in zip(frames, (model_a, model_b), strict=True)]
        for family, metric in _common(parts, ["family", "metric"]):
            mine = [part[(part["family"] == family) & (part["metric"] == metric)] for part in parts]
            named = {"model_a": model_a, "model_b": model_b, "family": family, "metric": metric}
            rows += [{"match": "label", **named, **row} for row in _differences(_by_label(mine), a)]
            if model_a != model_b:
                layers = (depths(a)[str(model_a)], depths(b)[str(model_b)])
                rows += [{"match": "depth", **named, **row} for row in _differences(_by_depth(mine, layers), a)]
    table = pd.DataFrame(rows, columns=[column for column in COLUMNS if column != "q"])
    table["q"] = np.nan
    for _, part in table.groupby(["match", "model_a", "model_b", "family", "metric"], sort=False):
        table.loc[part.index, "q"] = benjamini_hochberg(part["p"].to_numpy(dtype=np.float64))
    return table[COLUMNS]


def _judged(results: Results) -> pd.DataFrame:
    """Rows that are reported, without controls and without what is not a number; every prompt in a group."""
    frame = results.frame
    kept = frame[frame["split"].isin([judged_split(frame), "all"]) & frame["control_of"].isna()]
    kept = kept[np.isfinite(kept["effect"].to_numpy(dtype=np.float64))]
    named = kept["group"].fillna("").astype(str)
    judged: pd.DataFrame = kept.assign(group=named.where(named != "", kept["prompt_id"].astype(str)))
    return judged


def _check_common(frames: list[pd.DataFrame], a: Results, b: Results) -> None:
    for what, column in (("metric", "metric"), ("entry of edits", "family")):
        names = [list(dict.fromkeys(map(str, frame[column]))) for frame in frames]
        if not set(names[0]) & set(names[1]):
            listed = [", ".join(own) or "none" for own in names]
            raise InputError(
                f"The studies have no {what} in common: {a.study.name} has {listed[0]}, {b.study.name} has {listed[1]}."
            )


def _common(parts: list[pd.DataFrame], columns: list[str]) -> list[tuple[Any, ...]]:
    """Values of some columns that both frames have, in the order of the first."""
    first, second = (list(dict.fromkeys(part[columns].itertuples(index=False, name=None))) for part in parts)
    return [values for values in first if values in set(second)]


def _by_label(parts: list[pd.DataFrame]) -> list[Pair]:
    first, second = (_edits(part, ["label", "dose"]) for part in parts)
    return [
        ({"label": key[0], "dose": _number(key[1])}, prompts, second[key])
        for key, prompts in first.items()
        if key in second
    ]


def _by_depth(parts: list[pd.DataFrame], layers: tuple[int, int]) -> list[Pair]:
    single = [part[~part["label"].astype(str).str.contains(JOIN, regex=False)] for part in parts]
    first, second = ({int(key[0]): prompts for key, prompts in _edits(part, ["layer"]).items()} for part in single)
    if not first or not second:
        return []
    last_a, last_b = (max(count - 1, 1) for count in layers)
    pairs = []
    for layer, prompts in sorted(first.items()):
        other = min(second, key=lambda candidate: (abs(candidate / last_b - layer / last_a), candidate))
        label = f"L{layer} of {layers[0]} beside L{other} of {layers[1]}"
        pairs.append(({"label": label, "dose": float("nan")}, prompts, second[other]))
    return pairs


def _number(text: str) -> float:
    return float("nan") if text in ("nan", "None", "<NA>") else float(text)


def _edits(part: pd.DataFrame, by: list[str]) -> dict[tuple[str, ...], pd.DataFrame]:
    """Effect and group of every prompt, for each edit or layer; edits of one layer are averaged in each prompt."""
    found = {}
    for key, rows in part.groupby(by, sort=False, dropna=False, observed=True):
        prompts = rows.groupby("prompt_id", sort=True).agg(effect=("effect", "mean"), group=("group", "first"))
        found[tuple(str(value) for value in key)] = prompts
    return found


def _differences(pairs: list[Pair], settings: Results) -> list[dict[str, Any]]:
    """A row a pair; those on the same prompts are judged together, and those on others."""
    shared = [len(a.index.intersection(b.index)) > 0 for _, a, b in pairs]
    rows: dict[int, dict[str, Any]] = {}
    for paired, judge in ((True, _paired), (False, _unpaired)):
        places = [place for place, same in enumerate(shared) if same is paired]
        if places:
            rows |= zip(places, judge([pairs[place] for place in places], settings), strict=True)
    return [{**pairs[place][0], **rows[place]} for place in sorted(rows)]


def _paired(pairs: list[Pair], settings: Results) -> list[dict[str, Any]]:
    asked, seed = settings.study.statistics, settings.study.seed
    columns_a, columns_b = [], []
    for _, a, b in pairs:
        both = a.index.intersection(b.index)
        groups = a.loc[both, "group"]
        columns_a.append(_group_means(a.loc[both, "effect"], groups))
        columns_b.append(_group_means(b.loc[both, "effect"], groups))
    of_a, of_b = _stack(columns_a), _stack(columns_b)
    values = of_b - of_a
    limits = intervals(values, draw_counts(values.shape[1], asked.resamples, seed), asked.level, asked.interval)
    p = sign_flip_p(values, resamples=asked.resamples, q=asked.q, seed=seed)
    return _rows(of_a, of_b, limits.low, limits.high, p, paired=True)


def _unpaired(pairs: list[Pair], settings: Results) -> list[dict[str, Any]]:
    """Percentile limits, each study resampled on its own."""
    asked, seed = settings.study.statistics, settings.study.seed
    of_a, of_b = (
        _stack([_group_means(pair[part]["effect"], pair[part]["group"]) for pair in pairs]) for part in (1, 2)
    )
    low, high = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    enough = np.minimum(np.isfinite(of_a).sum(1), np.isfinite(of_b).sum(1)) >= FEWEST
    drawn = [
        resampled_means(values[enough], draw_counts(values.shape[1], asked.resamples, seed + place))
        for place, values in enumerate((of_a, of_b))
    ]
    tail = (1 - asked.level) / 2
    low[enough], high[enough] = np.nanquantile(drawn[1] - drawn[0], [tail, 1 - tail], axis=0)
    return _rows(of_a, of_b, low, high, np.full(len(pairs), np.nan), paired=False)


def _rows(
    of_a: Float[np.ndarray, "edits groups_a"],
    of_b: Float[np.ndarray, "edits groups_b"],
    low: Float[np.ndarray, " edits"],
    high: Float[np.ndarray, " edits"],
    p: Float[np.ndarray, " edits"],
    paired: bool,
) -> list[dict[str, Any]]:
    mean_a, mean_b = mean_of_groups(of_a), mean_of_groups(of_b)
    return [
        {
            "effect_a": mean_a[row],
            "effect_b": mean_b[row],
            "difference": mean_b[row] - mean_a[row],
            "low": low[row],
            "high": high[row],
            "paired": paired,
            "n_a": int(np.isfinite(of_a[row]).sum()),
            "n_b": int(np.isfinite(of_b[row]).sum()),
            "p": p[row],
        }
        for row in range(len(p))
    ]


def _group_means(effect: pd.Series, groups: pd.Series) -> pd.Series:
    return effect.groupby(groups, sort=True).mean()


def _stack(rows: list[pd.Series]) -> Float[np.ndarray, "edits groups"]:
    """A row each, a column a group that any of them has, sorted by name; NaN where a row has it not."""
    return pd.concat(rows, axis=1).sort_index().T.to_numpy(dtype=np.float64)
