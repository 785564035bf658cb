"""First tokens that attract attention from everywhere: vectors hundreds of times as long as all others."""

from __future__ import annotations

import warnings

from workbench.model import HookedModel
from workbench.saes.site import VectorSite, read_vectors
from workbench.saes.streams import TextSource

TIMES = 10.0
"""So many times as long as the median has the first vector of a window to be for a word about it."""


def warn_of_sinks(model: HookedModel, text: TextSource, site: VectorSite) -> None:
    """Say so where the first token of a window is an attention sink (Xiao et al. 2023, arXiv:2309.17453).

    Squared errors are then those of this token, whatever becomes of the others.
    """
    if text.bos or site.every > 1 or model.points[site.hook].per_step:
        return
    batch = next(iter(text.batches(model, 2)), None)
    if batch is None or batch.tokens.shape[1] < 2:
        return
    vectors = read_vectors(model, batch.tokens.to(model.cfg.device), [site])[0][0]
    norms = vectors.norm(dim=-1)
    first, others = norms[:, 0].mean(), norms[:, 1:].median()
    if first > TIMES * others:
        warnings.warn(
            f"At {site} the first token of a window has vectors {float(first / others):.0f} times as long as the "
            "others: it draws attention to itself, and the squared error will be its own. first=1 (--first 1) leaves "
            "it out.",
            stacklevel=3,
        )
