"""Rows about descriptions of features, and what they are worth."""

from __future__ import annotations

import tempfile
from itertools import cycle
from pathlib import Path

import torch

import workbench
from workbench.model import HookedModel
from workbench.probes.replications import Outcome, replication
from workbench.saes.features import collect_features
from workbench.saes.features.explaining import (
    CallableExplainer,
    PatternJudge,
    TokenExplainer,
    explain_features,
    planted_features,
    score_label,
)
from workbench.saes.files import load_sae
from workbench.saes.replications.text import written
from workbench.tasks import bootstrap_mean

MEASURES = ("detection", "fuzzing")
PLANTED, FEATURES = 20, 60


@replication(
    "explained-features",
    section="Features",
    paper="Large Multi-modal Models Can Interpret Features (Zhang et al. 2024); FIND (Schwettmann et al. 2023)",
    published="descriptions by a program predict activations, and functions with known answers score the scorer",
    ask="explain_features(store); score_label(label, firing, silent, PatternJudge())",
)
def explained_features() -> Outcome:
    """The explainer that needs no other model, on functions of tokens with known answers and on shipped autoencoders.

    The shape: labels of known functions get at least 0.9 in detection and fuzzing on text that they were not made of,
    and another function's labels at least 0.25 less; labels of features of autoencoders get more than guessing (0.5)
    and more than another feature's label, with intervals over features.
    """
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for name in ("attention", "mamba"):
        model = workbench.load(f"zoo:{name}", check=False)
        rows = written(model, 240, 128)
        own, other = _known(model, rows)
        scores, others = _found(model, name, rows)
        parts = []
        for measure in MEASURES:
            numbers |= {f"{name}: {measure}, known": own[measure], f"{name}: {measure}, known, others": other[measure]}
            agrees &= own[measure] >= 0.9 and own[measure] - other[measure] >= 0.25
            both = torch.tensor([scores[measure], others[measure]], dtype=torch.float64)
            both = both[:, both.isfinite().all(0)]
            mean, ahead = bootstrap_mean(both[0]), bootstrap_mean(both[0] - both[1])
            numbers |= {
                f"{name}: {measure}": mean.mean,
                f"{name}: {measure}, low": mean.low,
                f"{name}: {measure}, others": float(both[1].mean()),
                f"{name}: {measure}, difference, low": ahead.low,
            }
            agrees &= mean.low > 0.5 and ahead.low > 0
            parts.append(
                f"{measure} {own[measure]:.2f} ({other[measure]:.2f}), of features {mean.mean:.2f} "
                f"({both[1].mean():.2f})"
            )
        said.append(f"{name}: {'; '.join(parts)}")
    return Outcome(f"Scores of labels of known functions (of another one): {'. '.join(said)}.", agrees, numbers)


def _known(model: HookedModel, rows: torch.Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """Mean scores of labels of functions that are known, and of the labels of other such functions."""
    texts = [[str(model.to_string(token)) for token in row] for row in rows.reshape(-1, 32)]
    half = len(texts) // 2
    planted = planted_features(texts[:half], PLANTED)
    labels = [TokenExplainer().explain(feature.examples(texts[:half])) for feature in planted]
    found = []
    for given in (labels, [*labels[1:], labels[0]]):
        scores: dict[str, list[float]] = {measure: [] for measure in MEASURES}
        for label, feature in zip(given, planted, strict=True):
            examples = feature.examples(texts[half:], seed=1)
            firing = [one for one in examples if one.fires]
            silent = [one for one in examples if not one.fires]
            if firing and silent:
                for score in score_label(label, firing, silent, PatternJudge()):
                    scores[score.measure].append(score.score)
        found.append({measure: float(torch.tensor(values).mean()) for measure, values in scores.items()})
    return found[0], found[1]


def _found(model: HookedModel, name: str, rows: torch.Tensor) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Scores of labels of an autoencoder's features, and of each feature with another one's label."""
    with tempfile.TemporaryDirectory() as folder:
        store = collect_features(model, load_sae(f"zoo:{name}/resid_post"), rows, Path(folder), length=rows.shape[1])
        table = store.features()
        often = table[(table["rows"] >= 20) & (table["density"] < 0.1)]["feature"].tolist()
        order = torch.randperm(len(often), generator=torch.Generator().manual_seed(0))[:FEATURES]
        features = [int(often[place]) for place in order.tolist()]
        own = explain_features(store, features, save=False)
        labels = own["label"].tolist()
        given = cycle([*labels[1:], labels[0]])
        other = explain_features(
            store, features, explainer=CallableExplainer(lambda _: next(given), "label of another"), save=False
        )
    return (
        {measure: own[measure].astype(float).tolist() for measure in MEASURES},
        {measure: other[measure].astype(float).tolist() for measure in MEASURES},
    )
