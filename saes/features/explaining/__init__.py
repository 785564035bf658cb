"""Labels by program: explainers that make them, judges that score them, and features with known answers."""

from workbench.saes.features.explaining.explainers import CallableExplainer, Explainer, TokenExplainer
from workbench.saes.features.explaining.labelling import explain_features
from workbench.saes.features.explaining.patterns import Pattern
from workbench.saes.features.explaining.planted import PlantedFeature, planted_features
from workbench.saes.features.explaining.scoring import (
    CallableJudge,
    Judge,
    LabelScore,
    PatternJudge,
    score_label,
    scores_table,
)

__all__ = [
    "CallableExplainer",
    "CallableJudge",
    "Explainer",
    "Judge",
    "LabelScore",
    "Pattern",
    "PatternJudge",
    "PlantedFeature",
    "TokenExplainer",
    "explain_features",
    "planted_features",
    "score_label",
    "scores_table",
]
