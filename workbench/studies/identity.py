"""What makes two pieces of work the same: canonical JSON and 128-bit digests of it.

Nothing of the machine goes in, no time, path or source text: the same question asked elsewhere has the same name.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from workbench.model import HookedModel

VERSION = 1
"""Of what a result means. Raised when the same study would give other numbers."""


# Made once: of a hundred thousand units each has its name encoded.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises ValueError for NaN and infinities, which JSON has no word for."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """128 bits of a JSON value, as 32 hexadecimal digits."""
    return hashlib.blake2b(canonical(value).encode("utf-8"), digest_size=16).hexdigest()


def model_digest(model: HookedModel) -> str:
    """128 bits of a model's weights: names, shapes, types and every byte, wherever they lie."""
    import torch

    total = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.wrapped.state_dict().items()):
        total.update(canonical([name, str(tensor.dtype), list(tensor.shape)]).encode("utf-8"))
        plain = tensor.detach().cpu().contiguous()
        total.update(plain.view(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return total.hexdigest()
