"""Lenses: what a model would say if it stopped at an earlier layer, on every family alike."""

from workbench.probes.lenses.early_exit import early_exit
from workbench.probes.lenses.evaluation import evaluate_lenses
from workbench.probes.lenses.figures import depth_curves
from workbench.probes.lenses.least_squares import AffineMap, LeastSquares
from workbench.probes.lenses.lens import Lens, LogitLens
from workbench.probes.lenses.published import load_tuned_lens, save_tuned_lens
from workbench.probes.lenses.replacement import LinearReplacement, fit_replacement, replaced
from workbench.probes.lenses.residuals import residual_streams
from workbench.probes.lenses.shortcut import ShortcutLens, fit_shortcuts
from workbench.probes.lenses.states import StateLens, fit_state_lens
from workbench.probes.lenses.training import TunedLensOptions, TunedLensTraining, train_tuned_lens
from workbench.probes.lenses.trajectory import Trajectory, trajectory
from workbench.probes.lenses.tuned import TunedLens
from workbench.probes.lenses.unembedding import Unembedding
from workbench.probes.lenses.windows import split_windows
from workbench.windows import text_windows

__all__ = [
    "AffineMap",
    "LeastSquares",
    "Lens",
    "LinearReplacement",
    "LogitLens",
    "ShortcutLens",
    "StateLens",
    "Trajectory",
    "TunedLens",
    "TunedLensOptions",
    "TunedLensTraining",
    "Unembedding",
    "depth_curves",
    "early_exit",
    "evaluate_lenses",
    "fit_replacement",
    "fit_shortcuts",
    "fit_state_lens",
    "load_tuned_lens",
    "replaced",
    "residual_streams",
    "save_tuned_lens",
    "split_windows",
    "text_windows",
    "train_tuned_lens",
    "trajectory",
]
