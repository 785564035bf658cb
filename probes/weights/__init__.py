"""Weights read with no input: circuits of heads, what they compose to, and matrices in the words of the vocabulary."""

from workbench.probes.weights.composition import (
    all_composition_scores,
    composition_map,
    composition_scores,
    composition_table,
)
from workbench.probes.weights.factored import FactoredMatrix
from workbench.probes.weights.heads import HeadWeights, head_weights, output_weights
from workbench.probes.weights.keys import trigger_examples, value_agreement
from workbench.probes.weights.model import ModelWeights
from workbench.probes.weights.spectra import spectra, spectrum_plot
from workbench.probes.weights.vocabulary import matrix_tokens, project, singular_vectors, top_tokens

__all__ = [
    "FactoredMatrix",
    "HeadWeights",
    "ModelWeights",
    "all_composition_scores",
    "composition_map",
    "composition_scores",
    "composition_table",
    "head_weights",
    "matrix_tokens",
    "output_weights",
    "project",
    "singular_vectors",
    "spectra",
    "spectrum_plot",
    "top_tokens",
    "trigger_examples",
    "value_agreement",
]
