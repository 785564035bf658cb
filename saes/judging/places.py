"""Vectors at labelled places: what an autoencoder reads there, and its features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.activations import collect_activations
from workbench.probes.linear.data import ProbeData
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite


def vectors_at(
    model: HookedModel, data: ProbeData, site: VectorSite, *, batch: int = 16, progress: bool = False
) -> tuple[ProbeData, Float[Tensor, "rows d_in"]]:
    """The vectors of a site at labelled places; places that the site does not read are left out.

    Raises:
        InputError: the site reads none of the places.
    """
    read = data.position % site.every == site.every - 1
    if not read.any():
        raise InputError(f"{site} reads none of the {len(data)} labelled tokens.")
    if not read.all():
        names = ("sequence", "position", "labels", "groups", "types")
        data = replace(data, **{name: getattr(data, name)[read] for name in names})
    found = collect_activations(model, data, site.hook, batch=batch, progress=progress)[site.hook]
    if site.head is not None:
        found = found.head(site.head)
    values = torch.from_numpy(found.values)
    return data, values if site.basis is None else values @ site.basis.to(values).T


def features_of(
    sae: SparseAutoencoder, vectors: Float[Tensor, "rows d_in"], *, rows: int = 1024
) -> Float[np.ndarray, "rows d_sae"]:
    """Features of many vectors, some at a time, as float32."""
    with torch.no_grad():
        parts = [sae.encode(some.to(sae.W_enc)).float().cpu() for some in vectors.split(rows)]
    return torch.cat(parts).numpy()
