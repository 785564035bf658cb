"""Training of sparse autoencoders and transcoders, by SAELens' architectures, on vectors of any hook."""

from workbench.saes.training.figure import training_figure
from workbench.saes.training.history import training_history
from workbench.saes.training.options import ARCHITECTURES, SaeTrainingOptions
from workbench.saes.training.trainer import SaeTraining
from workbench.saes.training.training import train_sae

__all__ = [
    "ARCHITECTURES",
    "SaeTraining",
    "SaeTrainingOptions",
    "train_sae",
    "training_figure",
    "training_history",
]
