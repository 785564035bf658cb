"""Does a feature stand for it: k-sparse probes on features beside k-sparse probes on what they are features of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.data import ProbeData
from workbench.probes.linear.sparse import sparse_sweep
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.judging.places import features_of, vectors_at
from workbench.saes.site import VectorSite

if TYPE_CHECKING:
    import pandas as pd


def probe_features(
    model: HookedModel,
    sae: SparseAutoencoder | Mapping[str, SparseAutoencoder],
    data: ProbeData,
    *,
    ks: Sequence[int] = (1, 2, 5),
    folds: int = 5,
    selection: str = "mean_difference",
    site: VectorSite | None = None,
    batch: int = 16,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """k-sparse probes (Gurnee et al. 2023, arXiv:2305.01610) on features, on the vectors' own numbers, and on all.

    A dictionary whose features stand for what is asked needs few of them (Gao et al. 2024, arXiv:2406.04093, section
    4.2). Units are chosen, and probes fitted, on training groups alone.

    Args:
        sae: one, or several of one place by name.
        data: `labelled_words`, `workbench.probes.linear.labelled_states` of a task, or any other labelled places.
        ks: units a probe.
        folds, selection, level, seed: as in `workbench.probes.linear.sparse_sweep`.
        site: where, when the autoencoder's file does not say.
        progress: show a progress bar.

    Returns:
        One row a ``space`` (each autoencoder's name, and ``activations``) and ``k``: the chosen ``units``, their
        ``stability`` over folds, ``accuracy`` and ``auc`` with limits, and ``baseline``, the share of the most frequent
        class. The last row is a probe on all activations.

    Raises:
        InputError: no autoencoder, autoencoders of different places, more units asked for than there are, labels with
            a single class, or a class in too few groups to be held out.
    """
    import pandas as pd

    saes = dict(sae) if isinstance(sae, Mapping) else {"features": sae}
    if not saes or "activations" in saes:
        raise InputError("Give at least one autoencoder, and call none 'activations'.")
    first = next(iter(saes.values()))
    if len({(one.cfg.hook, one.cfg.head, one.cfg.every, one.cfg.d_in) for one in saes.values()}) > 1:
        raise InputError("The autoencoders are of different places; probe them one place at a time.")
    at = first.site(model) if site is None else site
    data, vectors = vectors_at(model, data, at, batch=batch, progress=progress)
    spaces = {name: features_of(one, vectors) for name, one in saes.items()}
    spaces["activations"] = vectors.numpy()
    rows: list[dict[str, Any]] = []

    def sweep(space: str, values: Float[np.ndarray, "rows units"], wanted: Sequence[int]) -> None:
        table = sparse_sweep(
            values,
            data.labels,
            ks=wanted,
            selection=selection,
            groups=data.groups,
            folds=folds,
            hook=at.hook,
            model_name=model.cfg.model_name,
            level=level,
            seed=seed,
        ).table()
        table.insert(0, "space", space)
        found: list[Any] = table.to_dict(orient="records")
        rows.extend(found)

    for name, values in spaces.items():
        sweep(name, values, ks)
    everything = spaces["activations"]
    if everything.shape[1] not in ks:
        sweep("activations", everything, [everything.shape[1]])
        rows[-1]["units"] = None
    return pd.DataFrame(rows)
