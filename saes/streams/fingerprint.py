"""Which weights a model has, as a short word."""

from __future__ import annotations

import hashlib

import torch

from workbench.model import HookedModel


def weights_fingerprint(model: HookedModel) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over the names, shapes, dtypes and bytes of all weights.

    Weights that accelerate keeps away from every device count by name, shape and dtype alone.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.wrapped.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        if not tensor.is_meta and tensor.numel():
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
