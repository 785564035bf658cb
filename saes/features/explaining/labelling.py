"""Explain and score many features of a store, and put what comes out into its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.progress import tracked
from workbench.saes.features.explaining.explainers import Explainer, TokenExplainer
from workbench.saes.features.explaining.scoring import Judge, LabelScore, PatternJudge, score_label

if TYPE_CHECKING:
    import pandas as pd

    from workbench.saes.features.store import FeatureStore


def explain_features(
    store: FeatureStore,
    features: Sequence[int] | None = None,
    *,
    explainer: Explainer | None = None,
    judge: Judge | None = None,
    save: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Label features from their examples, and score the labels on others.

    Labels are made of the ``top`` examples of even rank and half of the silent ones, and scored on all bands below the
    top (of which one in a row the label was made of is left out) and the other half of the silent.

    Args:
        features: by default all that fire and that no person has labelled.
        explainer: `TokenExplainer` by default.
        judge: `PatternJudge` by default, which takes labels of `TokenExplainer`; for others a `CallableJudge`.
        save: put the labels into ``store.labels``; a person's stay.

    Returns:
        ``feature``, ``label``, ``detection``, ``detection_low``, ``detection_high``, ``fuzzing``, ``fuzzing_low``,
        ``fuzzing_high``, ``pairs``; NaN where there are no examples left to score on.

    Raises:
        InputError: a feature that is dead or does not exist; labels that the judge cannot take.
    """
    import pandas as pd

    made = TokenExplainer() if explainer is None else explainer
    by = PatternJudge() if judge is None else judge
    if features is None:
        table = store.features()
        features = table.loc[~table["dead"] & (table["source"] != "human"), "feature"].tolist()
    rows = []
    for feature in tracked(features, progress, "explaining features"):
        examples = store.examples(feature)
        top = [one for one in examples if one.band == "top"]
        if not top:
            raise InputError(f"Feature {feature} is dead: there is nothing to explain.")
        silent = [one for one in examples if one.band == "silent"]
        label = made.explain([*top[::2], *silent[::2]])
        used = {one.row for one in top[::2]}
        rest = [one for one in examples if one.band not in ("top", "silent") and one.row not in used]
        once = list({one.row: one for one in [*rest, *top[1::2]]}.values())
        measured: dict[str, LabelScore] = {}
        if once and silent[1::2]:
            measured = {score.measure: score for score in score_label(label, once, silent[1::2], by, seed=seed)}
        rows.append(_row(feature, label, measured))
        if save:
            scores = {name: score.score for name, score in measured.items()}
            store.labels.set(feature, label, "auto", author=made.name, **scores)
    measures = [name + end for name in ("detection", "fuzzing") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["feature", "label", *measures, "pairs"])


def _row(feature: int, label: str, measured: Mapping[str, LabelScore]) -> dict[str, object]:
    row: dict[str, object] = {"feature": feature, "label": label}
    for name, score in measured.items():
        row |= {name: score.score, f"{name}_low": score.low, f"{name}_high": score.high}
        row.setdefault("pairs", score.pairs)
    return row
