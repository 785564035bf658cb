"""Features in use: edits in a run, steering, circuits of features, and the repetition experiment."""

from workbench.saes.using.circuit import FeatureCircuit, feature_circuit
from workbench.saes.using.circuit_figure import circuit_figure
from workbench.saes.using.edit import FeatureEdit
from workbench.saes.using.faithfulness import circuit_faithfulness, exact_effects
from workbench.saes.using.reading import read_features
from workbench.saes.using.repeats import repeated_ngrams
from workbench.saes.using.repetition import RepetitionFeatures, find_repetition_features
from workbench.saes.using.repetition_runs import RepetitionExperiment, repetition_experiment
from workbench.saes.using.steering import Steering, steer_features, strengths_for

__all__ = [
    "FeatureCircuit",
    "FeatureEdit",
    "RepetitionExperiment",
    "RepetitionFeatures",
    "Steering",
    "circuit_faithfulness",
    "circuit_figure",
    "exact_effects",
    "feature_circuit",
    "find_repetition_features",
    "read_features",
    "repeated_ngrams",
    "repetition_experiment",
    "steer_features",
    "strengths_for",
]
