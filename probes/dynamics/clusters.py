"""Do states fall into clusters, and are these the states of the process that made the text?

A network that emulates a hidden Markov model or an automaton visits one region of its state space for each hidden
state; how well a clustering that never saw the labels agrees with them says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError


@dataclass(frozen=True)
class ClusterAgreement:
    """Clusters of states beside the labels of a known process.

    Attributes:
        clusters: the cluster of each state that has a label.
        labels: that label.
        adjusted_rand: Hubert and Arabie's index: 1 for the same partition, 0 for what chance gives.
        mutual_information: normalised by the mean of both entropies; 0 to 1.
        purity: share of states whose label is their cluster's commonest.
        chance: the share of the commonest label, which purity has with a single cluster.
    """

    clusters: Int[Tensor, " states"]
    labels: Int[Tensor, " states"]
    adjusted_rand: float
    mutual_information: float
    purity: float
    chance: float

    def table(self) -> pd.DataFrame:
        """How often each cluster (row) met each label (column)."""
        return pd.crosstab(
            pd.Series(self.clusters.numpy(), name="cluster"), pd.Series(self.labels.numpy(), name="label")
        )


def cluster_states(
    states: Float[Tensor, "batch time dim"],
    labels: Int[Tensor, "rows steps"],
    clusters: int | None = None,
    *,
    seed: int = 0,
    restarts: int = 10,
) -> ClusterAgreement:
    """Cluster states by k-means and compare with the hidden states of a task (``Task.states``).

    Args:
        states: after each token, such as ``StateMap.trajectory``.
        labels: after each token; -1 where there is none.
        clusters: how many; None for as many as there are labels.
        seed: of the k-means.
        restarts: of which the tightest is kept.

    Raises:
        InputError: states and labels that do not belong together, a single label, or fewer states than clusters.
    """
    from sklearn.cluster import KMeans

    if states.shape[:2] != labels.shape:
        raise InputError(f"States of {[*states.shape[:2]]} tokens and labels of {[*labels.shape]} do not pair up.")
    known = labels.flatten().cpu() >= 0
    flat = states.detach().double().flatten(0, 1).cpu()[known]
    classes = labels.flatten().cpu()[known]
    kinds = len(classes.unique())
    if kinds < 2:
        raise InputError("All states have one label, so there is nothing to tell apart.")
    wanted = kinds if clusters is None else clusters
    if not 1 <= wanted <= len(flat):
        raise InputError(f"{len(flat)} states fall into 1 to {len(flat)} clusters; got {wanted}.")
    fitted = KMeans(wanted, n_init=restarts, random_state=seed).fit(flat.numpy())
    return compare_partitions(torch.as_tensor(np.asarray(fitted.labels_), dtype=torch.long), classes.long())


def compare_partitions(clusters: Int[Tensor, " states"], labels: Int[Tensor, " states"]) -> ClusterAgreement:
    """Two partitions of the same states."""
    from sklearn import metrics

    found, true = clusters.numpy(), labels.numpy()
    counts = np.asarray(metrics.cluster.contingency_matrix(true, found))
    return ClusterAgreement(
        clusters,
        labels,
        adjusted_rand=float(metrics.adjusted_rand_score(true, found)),
        mutual_information=float(metrics.normalized_mutual_info_score(true, found)),
        purity=float(counts.max(0).sum() / counts.sum()),
        chance=float(counts.sum(1).max() / counts.sum()),
    )
