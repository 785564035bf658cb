"""Lenses: what a model would say if it stopped at an earlier layer, on every family alike."""

from workbench.probes.lenses.lens import Lens, LogitLens
from workbench.probes.lenses.published import load_tuned_lens, save_tuned_lens
from workbench.probes.lenses.residuals import residual_streams
from workbench.probes.lenses.training import TunedLensOptions, TunedLensTraining, train_tuned_lens
from workbench.probes.lenses.tuned import TunedLens
from workbench.probes.lenses.unembedding import Unembedding
from workbench.probes.lenses.windows import split_windows, text_windows

__all__ = [
    "Lens",
    "LogitLens",
    "TunedLens",
    "TunedLensOptions",
    "TunedLensTraining",
    "Unembedding",
    "load_tuned_lens",
    "residual_streams",
    "save_tuned_lens",
    "split_windows",
    "text_windows",
    "train_tuned_lens",
]
