"""What baselines are fitted on: means, covariances and a sample of the vectors at an autoencoder's place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.site import VectorSite, read_vectors

WITH_COVARIANCE = 2048
"""Vectors of more numbers are known by their sample alone: the work on a covariance grows with their cube."""
SAMPLE = 2048
SAMPLE_NUMBERS = 2**25
"""Numbers that the sample may have: of vectors of more than 16,384 numbers, such as whole states, it has fewer."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What is known of what an autoencoder reads, ``x``, and of what it predicts, ``y`` (the same but of a transcoder).

    Attributes:
        mean, mean_out: of ``x`` and of ``y``.
        covariance: of ``x``; None where it has more than `WITH_COVARIANCE` numbers.
        cross: covariance of ``x`` with ``y``; None where ``y`` is ``x``, or `covariance` is.
        sample, sample_out: up to `SAMPLE` of the vectors (`SAMPLE_NUMBERS` of their numbers), evenly spread over the
            text.
        count: vectors that were read.
        transcodes: whether ``y`` is another vector than ``x``.
    """

    mean: Float[Tensor, " d_in"]
    mean_out: Float[Tensor, " d_out"]
    covariance: Float[Tensor, "d_in d_in"] | None
    cross: Float[Tensor, "d_in d_out"] | None
    sample: Float[Tensor, "rows d_in"]
    sample_out: Float[Tensor, "rows d_out"]
    count: int
    transcodes: bool

    def components(self) -> Float[Tensor, "components d_in"]:
        """Principal components, the one along which most varies first: of the covariance, or of the sample."""
        if self.covariance is not None:
            whole: Tensor = torch.linalg.eigh(self.covariance)[1].flip(1).T
            return whole
        centred = self.sample.to(self.mean) - self.mean
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        there = values > 1e-9 * values[-1]
        rows = vectors[:, there].T.flip(0) @ centred
        unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
        return unit

    def mapped(self, directions: Float[Tensor, "directions d_in"]) -> Float[Tensor, "directions d_out"]:
        """What a ridge regression of ``y - mean_out`` on ``x - mean`` makes of directions; themselves, if no ``y``."""
        if not self.transcodes:
            return directions
        # The fewer vectors there are for the numbers to be found, the more of the slopes is chance.
        if self.covariance is not None and self.cross is not None:
            ridge = len(self.mean) / self.count * self.covariance.diagonal().mean().clamp(min=1e-12)
            identity = torch.eye(len(self.mean), dtype=self.mean.dtype, device=self.mean.device)
            mapped: Tensor = directions @ torch.linalg.solve(self.covariance + ridge * identity, self.cross)
            return mapped
        # The same in the space of the sample, which has fewer vectors than they have numbers.
        x, y = self.sample.to(self.mean) - self.mean, self.sample_out.to(self.mean) - self.mean_out
        gram = x @ x.T
        identity = torch.eye(len(x), dtype=x.dtype, device=x.device)
        mapped = (directions @ x.T) @ torch.linalg.solve(gram + gram.diagonal().mean() * identity, y)
        return mapped


def read_reference(
    model: HookedModel,
    windows: Int[Tensor, "windows time"],
    site: VectorSite,
    site_out: VectorSite | None = None,
    *,
    first: int = 0,
    batch: int = 8,
    progress: bool = False,
) -> Reference:
    """Read what baselines have to know off text, in one pass.

    Args:
        site_out: what a transcoder predicts; None where it is `site`.
        first: tokens at the start of a row that do not count.

    Raises:
        InputError: a text in which fewer than two vectors are read.
    """
    sites = [site] if site_out is None else [site, site_out]
    moments: list[Tensor] = []
    kept: list[tuple[Tensor, Tensor]] = []
    count = 0
    parts = list(windows.split(batch))
    left = sum(position < first for position in site.positions(windows.shape[1]))
    most = max(2, min(SAMPLE, SAMPLE_NUMBERS // max(one.width(model) for one in sites)))
    every = max(1, -(-len(windows) * len(site.positions(windows.shape[1])) // most))
    for tokens in tracked(parts, progress, "reading what baselines are fitted on"):
        read = read_vectors(model, tokens.to(model.cfg.device), sites)[0]
        x, y = (one[:, left:].flatten(0, 1).double() for one in (read[0], read[-1]))
        added = [x.sum(0), y.sum(0)]
        if x.shape[1] <= WITH_COVARIANCE:
            added += [x.T @ x] + ([x.T @ y] if site_out is not None else [])
        moments = added if not moments else [total + more for total, more in zip(moments, added, strict=True)]
        begin = -count % every
        kept.append((x[begin::every].float(), y[begin::every].float()))
        count += len(x)
    if count < 2:
        raise InputError(f"{site} is read {count} times in this text; at least 2 vectors are needed.")
    mean, mean_out = moments[0] / count, moments[1] / count
    covariance = moments[2] / count - torch.outer(mean, mean) if len(moments) > 2 else None
    cross = moments[3] / count - torch.outer(mean, mean_out) if len(moments) > 3 else None
    sample, sample_out = (torch.cat([pair[side] for pair in kept]) for side in (0, 1))
    return Reference(mean, mean_out, covariance, cross, sample, sample_out, count, site_out is not None)
