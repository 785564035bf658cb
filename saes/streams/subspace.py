"""The few directions in which a site's vectors differ most: a basis for states too wide to be learned from whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.site import VectorSite
from workbench.saes.streams.reading import Reading, SiteLike
from workbench.saes.streams.source import SourceLike


@dataclass(frozen=True, eq=False)
class Subspace:
    """The principal components of the vectors at a site.

    Attributes:
        site: the site, read in the subspace.
        explained: the share of the variance that each row of the basis has, largest first.
        rows: vectors it was fitted on.
    """

    site: VectorSite
    explained: Float[Tensor, " rank"]
    rows: int

    @property
    def basis(self) -> Float[Tensor, "rank features"]:
        """Orthonormal rows, those of most variance first."""
        assert self.site.basis is not None  # `fit_basis` gives it one
        return self.site.basis

    def __repr__(self) -> str:
        share = float(self.explained.sum())
        return f"Subspace({self.site}: {share:.1%} of the variance of {self.rows} vectors)"


def fit_basis(
    model: HookedModel,
    source: SourceLike,
    site: SiteLike,
    rank: int,
    *,
    rows: int = 4096,
    length: int | None = None,
    windows: int = 16,
    drop_first: int = 0,
    seed: int | None = 0,
) -> Subspace:
    """Principal components of a site's vectors on the beginning of a text (Pearson 1901), for a `VectorSite`'s basis.

    The mean is taken out first, so that the directions are those in which vectors differ. They come from the Gram
    matrix of the sample, ``rows`` by ``rows``, however wide a state is.

    Args:
        rank: how many.
        rows: vectors of the sample; fewer where the text has fewer.

    Raises:
        InputError: more directions than the sample can tell apart; a site that has a basis already.
    """
    reading = Reading(
        model, source, site, length=length, windows=windows, drop_first=drop_first, device="cpu", seed=seed
    )
    place = reading.sites[0]
    if len(reading.sites) > 1 or place.basis is not None:
        raise InputError("A basis is fitted to one site, which has none yet.")
    if rank < 1:
        raise InputError(f"rank is {rank}; at least one direction is needed.")
    kept: list[Tensor] = []
    for found in reading.rows():
        kept.append(found.values[0])
        if sum(map(len, kept)) >= rows:
            break
    sample = torch.cat(kept)[:rows]
    centred = (sample - sample.mean(0)).double()
    # Centring takes one direction away, and directions of no variance cannot be told from each other.
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0), vectors.flip(1)
    there = int((values > values[0].clamp(min=1e-300) * 1e-10).sum())
    if rank > there:
        raise InputError(
            f"{len(sample)} vectors at {place} differ in {there} directions; a basis of {rank} needs more of them "
            "or a smaller rank."
        )
    raw = (vectors[:, :rank].T @ centred) / values[:rank, None].sqrt()
    orthonormal = torch.linalg.qr(raw.T)[0].T
    basis = orthonormal * (orthonormal * raw).sum(1, keepdim=True).sign()
    dtype = torch.float64 if sample.dtype == torch.float64 else torch.float32
    return Subspace(
        replace(place, basis=basis.to(dtype)), (values[:rank] / values.clamp(min=0).sum()).float(), len(sample)
    )
