"""What a tuned lens is trained on: its divergence from the model's own answer, in bounded memory."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.probes.lenses.tuned import TunedLens


def accumulate_gradients(
    lens: TunedLens, streams: Float[Tensor, "depth positions d_model"], weight: float
) -> Float[Tensor, " layers"]:
    """Add the gradient of ``weight * sum of KL(model || lens)`` over positions and depths to the translators' ``grad``.

    The model's distribution is made once for a few positions, and each depth is compared with it in turn: of all the
    logits, ``depth * positions * vocabulary`` of them, only one depth's at a few positions are ever there.

    Args:
        lens: to be trained.
        streams: `residual_streams` with batch and time flattened; the last depth is the model's own.
        weight: of a position in the mean that is minimised.

    Returns:
        The divergence summed over positions, a depth each, in nats.
    """
    unembedding = lens.unembedding
    losses = torch.zeros(lens.n_layers, dtype=torch.float64)
    for part in streams.split(unembedding.positions_at_once, dim=1):
        with torch.no_grad():
            target = unembedding.log_probabilities(part[-1])
            probabilities = target.exp()
            # The entropy is the same for every depth.
            negative_entropy = (probabilities * target).sum(dtype=torch.float64)
            del target
        for depth in range(lens.n_layers):
            with torch.enable_grad():
                guess = lens.transform(part[depth], depth)
                # Cut here, so that no gradient goes to the model's own parameters.
                leaf = guess.detach().requires_grad_()
                logits = unembedding(leaf)
            with torch.no_grad():
                predicted = logits.to(probabilities.dtype).log_softmax(-1)
                cross_entropy = -torch.linalg.vecdot(probabilities, predicted).sum(dtype=torch.float64)
                losses[depth] += (cross_entropy + negative_entropy).cpu()
                # The gradient of a cross-entropy with respect to logits (the softmax less the target), in place.
                slope = predicted.exp_().sub_(probabilities).mul_(weight).to(logits.dtype)
            (of_guess,) = torch.autograd.grad(logits, leaf, slope)
            guess.backward(of_guess.to(guess.dtype))
            del logits, predicted, slope
    return losses
