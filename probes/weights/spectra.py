"""Singular values of every head's circuits, and whether an OV circuit copies."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures.maps import plain_layout
from workbench.model import HookedModel
from workbench.probes.weights.heads import all_head_weights
from workbench.sites import Site


@checked_call
def spectra(model: HookedModel, circuit: str = "OV", *, mixer: int = 0, fold_norm: bool = True) -> pd.DataFrame:
    """One row a head: how large its circuit is, of how many directions, and what its eigenvalues say.

    Returns:
        ``site``, ``layer``, ``head``, ``norm`` (Frobenius), ``largest`` (singular value), ``participation``
        (``(sum s^2)^2 / sum s^4``: how many directions share the energy), ``copying`` (sum of eigenvalues over the sum
        of their sizes, Elhage et al. 2021: 1 adds to what is read, -1 takes it away), ``singular_values``.

    Raises:
        InputError: another circuit than OV and QK, or mixers without it.
    """
    rows = []
    for heads in all_head_weights(model, model.mixers_of(None, mixer), fold_norm=fold_norm):
        matrix = heads.circuit(circuit)
        values, copying = matrix.singular_values().double(), matrix.copying_score()
        energy = values.square()
        for head in range(len(values)):
            rows.append(
                {
                    "site": str(Site.heads(heads.layer, head, mixer=mixer)),
                    "layer": heads.layer,
                    "head": head,
                    "norm": float(energy[head].sum().sqrt()),
                    "largest": float(values[head, 0]),
                    "participation": float(energy[head].sum() ** 2 / energy[head].square().sum().clamp(min=1e-300)),
                    "copying": float(copying[head]),
                    "singular_values": values[head].tolist(),
                }
            )
    return pd.DataFrame(rows)


@checked_call
def spectrum_plot(table: pd.DataFrame, sites: list[str] | None = None) -> go.Figure:
    """Singular values by rank, a line a head. Raises InputError for a site that the table does not have."""
    chosen = list(table["site"]) if sites is None else sites
    missing = [site for site in chosen if site not in set(table["site"])]
    if missing:
        raise InputError(f"The table has no {missing[0]}.")
    figure = go.Figure()
    for site, values in table.set_index("site").loc[chosen, "singular_values"].items():
        figure.add_trace(go.Scatter(y=values, mode="lines", name=str(site)))
    figure.update_layout(xaxis_title="rank", yaxis_title="singular value", yaxis_type="log", **plain_layout())
    return figure
