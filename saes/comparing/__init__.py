"""Comparing models: which units correspond, and how alike spaces are, on the same text whatever the tokenizers."""

from workbench.saes.comparing.alignment import passages, shared_places, token_ends
from workbench.saes.comparing.matching import Matches, match_features
from workbench.saes.comparing.similarity import dissimilarities, linear_cka, linear_cka_of, rsa, svcca, svcca_of
from workbench.saes.comparing.spaces import SpaceComparison, compare_spaces
from workbench.saes.comparing.units import Units, paired_values

__all__ = [
    "Matches",
    "SpaceComparison",
    "Units",
    "compare_spaces",
    "dissimilarities",
    "linear_cka",
    "linear_cka_of",
    "match_features",
    "paired_values",
    "passages",
    "rsa",
    "shared_places",
    "svcca",
    "svcca_of",
    "token_ends",
]
