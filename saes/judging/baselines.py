"""What an autoencoder has to beat, as autoencoders themselves: everything else runs on them, too."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.autoencoder import SaeConfig, SparseAutoencoder
from workbench.saes.judging.coordinates import Coordinates
from workbench.saes.judging.reference import Reference
from workbench.tokens import check_choice

BASELINES = ("pca", "random", "neurons")
MOST_NUMBERS = 8192
"""Numbers that a transcoder may read for its neurons to be a baseline: what each of them writes is a dense table."""


def baseline(name: str, reference: Reference, like: SparseAutoencoder, k: int, *, seed: int = 0) -> SparseAutoencoder:
    """An autoencoder that nobody trained, with `k` features a token, at the place of another one.

    Of a transcoder the features are read off its input, and their directions are what a ridge regression of output on
    input makes of them.

    Args:
        name: ``pca``: the `k` principal components with the largest coefficients, chosen anew for each token; a feature
            is one sign of one component. ``random``: as many unit directions as `like` has features, uniform on the
            sphere, all scaled by the one number that explains most. ``neurons``: the `k` coordinates farthest from
            their mean; a feature is one sign of one coordinate.
        reference: moments of text, which should be other text than what is judged on.
        like: whose place, and how many random directions.
        k: features a token; all there are where there are fewer.

    Raises:
        InputError: another name, a `k` below 1, or the `neurons` of a transcoder of more than `MOST_NUMBERS` numbers.
    """
    check_choice("baseline", name, BASELINES)
    if k < 1:
        raise InputError(f"k is {k}; a baseline uses at least one feature a token.")
    width = len(reference.mean)
    if name == "neurons" and not reference.transcodes:
        return Coordinates(like, reference.mean, k)
    if name == "pca":
        directions = reference.components()
    elif name == "neurons":
        if width > MOST_NUMBERS:
            raise InputError(
                f"What the {width} numbers that this transcoder reads write is a table too large to fit (at most "
                f"{MOST_NUMBERS}); leave out the baseline neurons: baselines of pca and random, say."
            )
        directions = torch.eye(width, dtype=reference.mean.dtype, device=reference.mean.device)
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(like.cfg.d_sae, width, generator=generator, dtype=torch.float64).to(reference.mean)
        drawn /= drawn.norm(dim=1, keepdim=True)
        directions = drawn
    encoder = directions if name == "random" else torch.cat([directions, -directions])
    k = min(k, len(encoder))
    made = _autoencoder(reference, like, encoder, reference.mapped(encoder), k)
    if name != "random":
        return made
    # Directions at random overlap, so the sum of projections is of another length than the vector.
    predicted = made(reference.sample.to(made.dtype)) - made.b_dec
    wanted = reference.sample_out.to(made.dtype) - made.b_dec
    gain = (predicted * wanted).sum() / (predicted * predicted).sum().clamp(min=1e-30)
    return _autoencoder(reference, like, encoder, reference.mapped(encoder) * gain.double(), k)


def constant(like: SparseAutoencoder, vector: Float[Tensor, " d_out"]) -> SparseAutoencoder:
    """An autoencoder whose reconstruction is always the same: zero or mean ablation of a place, spliced in."""
    features = torch.zeros(1, like.cfg.width_out)
    weights = {
        "W_enc": torch.zeros(like.cfg.d_in, 1),
        "W_dec": features,
        "b_dec": vector,
        # Below 0 for every input, so that its one feature never fires.
        "b_enc": -torch.ones(1),
    }
    return _placed(like, weights, 1, 1)


def _autoencoder(
    reference: Reference,
    like: SparseAutoencoder,
    encoder: Float[Tensor, "d_sae d_in"],
    decoder: Float[Tensor, "d_sae d_out"],
    k: int,
) -> SparseAutoencoder:
    weights = {
        "W_enc": encoder.T,
        "W_dec": decoder,
        "b_dec": reference.mean_out,
        "b_enc": -reference.mean @ encoder.T,
    }
    return _placed(like, weights, len(encoder), k)


def _placed(like: SparseAutoencoder, weights: dict[str, Tensor], d_sae: int, k: int) -> SparseAutoencoder:
    cfg: SaeConfig = replace(
        like.cfg,
        architecture="topk_transcoder" if like.cfg.transcodes else "topk",
        d_sae=d_sae,
        k=k,
        apply_b_dec_to_input=False,
        rescale_acts_by_decoder_norm=False,
        normalize_activations="none",
        details={},
    )
    placed = {name: value.to(like.W_enc).contiguous() for name, value in weights.items()}
    return SparseAutoencoder(cfg, placed, like.basis)
