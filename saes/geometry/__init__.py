"""Geometry of directions: parallelograms, lobes, the spectrum of the cloud, and features of several dimensions."""

from workbench.saes.geometry.circle import Circle, CirclePatch, angles_of, fit_circle
from workbench.saes.geometry.co_occurrence import CoOccurrence, Lobes, co_occurrence, lobes, read_co_occurrence
from workbench.saes.geometry.crystals import Parallelograms, parallelograms
from workbench.saes.geometry.irreducible import (
    FeatureCluster,
    cluster_directions,
    irreducible_features,
    irreducible_table,
    mixture,
    separability,
)
from workbench.saes.geometry.spectrum import Entropy, Slope, clustering_entropy, eigenvalues, spectrum_slope

__all__ = [
    "Circle",
    "CirclePatch",
    "CoOccurrence",
    "Entropy",
    "FeatureCluster",
    "Lobes",
    "Parallelograms",
    "Slope",
    "angles_of",
    "cluster_directions",
    "clustering_entropy",
    "co_occurrence",
    "eigenvalues",
    "fit_circle",
    "irreducible_features",
    "irreducible_table",
    "lobes",
    "mixture",
    "parallelograms",
    "read_co_occurrence",
    "separability",
    "spectrum_slope",
]
