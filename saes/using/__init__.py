"""Features in use: edits in a run, steering, circuits of features, and the repetition experiment."""

from workbench.saes.using.edit import FeatureEdit
from workbench.saes.using.reading import read_features

__all__ = ["FeatureEdit", "read_features"]
