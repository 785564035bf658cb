"""Weights read with no input: circuits of heads, what they compose to, and matrices in the words of the vocabulary."""

from workbench.probes.weights.factored import FactoredMatrix
from workbench.probes.weights.heads import HeadWeights, head_weights
from workbench.probes.weights.model import ModelWeights

__all__ = ["FactoredMatrix", "HeadWeights", "ModelWeights", "head_weights"]
