"""What single units do over running text: neurons of MLPs, channels of mixers, cells and gates of recurrent layers.

Dead, positional and n-gram units, what a unit does to the token it fires at, units that follow a predicate over
characters, saturated gates, and an n-gram model to compare with.
"""

from workbench.probes.neurons.cells import cell_values, cells_that_follow
from workbench.probes.neurons.corpus import Corpus, read_corpus, token_corpus
from workbench.probes.neurons.firing import NeuronStatistics, neuron_statistics
from workbench.probes.neurons.gates import gate_saturation, saturated_units
from workbench.probes.neurons.ngram_model import NgramModel
from workbench.probes.neurons.ngrams import NgramCounts
from workbench.probes.neurons.plots import plot_cell, plot_saturation
from workbench.probes.neurons.predicates import PREDICATES, get_predicate, token_labels
from workbench.probes.neurons.suppression import token_effects

__all__ = [
    "PREDICATES",
    "Corpus",
    "NeuronStatistics",
    "NgramCounts",
    "NgramModel",
    "cell_values",
    "cells_that_follow",
    "gate_saturation",
    "get_predicate",
    "neuron_statistics",
    "plot_cell",
    "plot_saturation",
    "read_corpus",
    "saturated_units",
    "token_corpus",
    "token_effects",
    "token_labels",
]
