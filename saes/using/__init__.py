"""Features in use: edits in a run, steering, circuits of features, and the repetition experiment."""

from workbench.saes.using.circuit import FeatureCircuit, feature_circuit
from workbench.saes.using.circuit_figure import circuit_figure
from workbench.saes.using.edit import FeatureEdit
from workbench.saes.using.faithfulness import circuit_faithfulness, exact_effects
from workbench.saes.using.reading import read_features
from workbench.saes.using.repeats import repeated_ngrams
from workbench.saes.using.steering import Steering, steer_features

__all__ = [
    "FeatureCircuit",
    "FeatureEdit",
    "Steering",
    "circuit_faithfulness",
    "circuit_figure",
    "exact_effects",
    "feature_circuit",
    "read_features",
    "repeated_ngrams",
    "steer_features",
]
