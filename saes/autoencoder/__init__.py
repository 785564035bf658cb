"""A sparse autoencoder as it is used: what it is, and vectors to features and back."""

from workbench.saes.autoencoder.autoencoder import SparseAutoencoder, weight_shapes
from workbench.saes.autoencoder.config import ACTIVATIONS, SaeConfig

__all__ = ["ACTIVATIONS", "SaeConfig", "SparseAutoencoder", "weight_shapes"]
