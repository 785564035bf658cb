"""Text that members of the zoo write: of the kind that they were trained on, with no download."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.model import HookedModel


def written(model: HookedModel, rows: int, length: int, seed: int = 0) -> Int[Tensor, "rows length"]:
    """Rows of tokens that a model samples after the beginning-of-text token, which is left out."""
    begin = torch.zeros(rows, 1, dtype=torch.long)
    tokens: Tensor = model.generate(begin, length, temperature=1.0, stop_at_eos=False, seed=seed, return_type="tokens")
    return tokens[:, 1:]
