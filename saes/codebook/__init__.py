"""Codebook features: a discrete bottleneck at any hook, trained, read and switched (Tamkin et al. 2023)."""

from workbench.saes.codebook.autoencoder import CodebookAutoencoder
from workbench.saes.codebook.bottleneck import Bottleneck
from workbench.saes.codebook.codebook import Codebook, first_codes
from workbench.saes.codebook.table import code_table
from workbench.saes.codebook.training import fit_codebook, train_codebook, train_with_codebooks

__all__ = [
    "Bottleneck",
    "Codebook",
    "CodebookAutoencoder",
    "code_table",
    "first_codes",
    "fit_codebook",
    "train_codebook",
    "train_with_codebooks",
]
