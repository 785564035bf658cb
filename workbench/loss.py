"""Next-token loss."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError


def next_token_loss(
    logits: Float[Tensor, "batch time vocab"],
    tokens: Int[Tensor, "batch time"],
    attention_mask: Int[Tensor, "batch time"] | None = None,
    per_token: bool = False,
) -> Float[Tensor, "batch time_minus_one"] | Float[Tensor, ""]:
    """Cross-entropy in nats of each token given those before it, averaged over pairs of real tokens.

    Args:
        per_token: give one number a predicted token, 0 where it or its predecessor is padding.

    Raises:
        InputError: fewer than two tokens a row, or no row with two real tokens in succession.
    """
    if tokens.shape[1] < 2:
        raise InputError("The loss needs at least two tokens a row: the first predicts the second.")
    wide = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    loss = torch.nn.functional.cross_entropy(wide.transpose(1, 2), tokens[:, 1:].long(), reduction="none")
    if attention_mask is None:
        return loss if per_token else loss.mean()
    real = (attention_mask[:, 1:] * attention_mask[:, :-1]).bool()
    if not real.any():
        raise InputError("No row has two real tokens in succession, so there is nothing to predict.")
    loss = loss.masked_fill(~real, 0.0)
    return loss if per_token else loss.sum() / real.sum()
