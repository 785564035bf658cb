"""Linear probes: what can be read from an activation, on every hook of every family.

Ridge and logistic regression, k-sparse probes, differences of means, and directions found without labels; whole groups
are held out, control tasks say how much of a score is memory, and every score has an interval.
"""

from workbench.probes.linear.activations import Activations, collect_activations
from workbench.probes.linear.control import control_labels
from workbench.probes.linear.data import ProbeData, labelled_states, labelled_texts, labelled_tokens
from workbench.probes.linear.evaluation import ProbeResult, evaluate_probe
from workbench.probes.linear.fitting import fit_probe
from workbench.probes.linear.holdout import check_no_leak, grouped_folds, held_out
from workbench.probes.linear.latent import ContrastProbe, contrast_probe
from workbench.probes.linear.mass_mean import evaluate_mass_mean, mass_mean_probe
from workbench.probes.linear.places import Place, places
from workbench.probes.linear.plots import plot_by_k, plot_by_layer
from workbench.probes.linear.probe import Probe, load_probe
from workbench.probes.linear.selection import select_units
from workbench.probes.linear.sparse import SparseSweep, sparse_sweep
from workbench.probes.linear.sweep import ProbeSweep, probe_sweep

__all__ = [
    "Activations",
    "ContrastProbe",
    "Place",
    "Probe",
    "ProbeData",
    "ProbeResult",
    "ProbeSweep",
    "SparseSweep",
    "check_no_leak",
    "collect_activations",
    "contrast_probe",
    "control_labels",
    "evaluate_mass_mean",
    "evaluate_probe",
    "fit_probe",
    "grouped_folds",
    "held_out",
    "labelled_states",
    "labelled_texts",
    "labelled_tokens",
    "load_probe",
    "mass_mean_probe",
    "places",
    "plot_by_k",
    "plot_by_layer",
    "probe_sweep",
    "select_units",
    "sparse_sweep",
]
