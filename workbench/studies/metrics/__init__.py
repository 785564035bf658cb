"""What a study measures. Importing this registers the metrics."""

from workbench.studies.metrics.answers import Accuracy, Entropy, Loss, Probability
from workbench.studies.metrics.comparisons import Divergence, LogitDifference, Preference, TopChange
from workbench.studies.metrics.metric import METRICS, MetricKind

__all__ = [
    "METRICS",
    "Accuracy",
    "Divergence",
    "Entropy",
    "LogitDifference",
    "Loss",
    "MetricKind",
    "Preference",
    "Probability",
    "TopChange",
]
