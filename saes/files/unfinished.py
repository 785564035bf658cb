"""Checkpoints of SAELens' training as what they would have been saved as in the end.

SAELens does these steps on the training class when it saves; a file that a training left behind has not had them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import LoadError
from workbench.saes.files.tensors import read_json

SCALE = "activation_scaler.json"
_BY_BATCH = ("batchtopk", "matryoshka_batchtopk")


def finished(
    said: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights after the training's last steps: norms and scale folded in, thresholds spelled out.

    Raises:
        LoadError: the activations were whitened, or scaled by a factor that is nowhere to be found.
    """
    cfg, found = dict(said), dict(weights)
    if "log_threshold" in found:
        found["threshold"] = found.pop("log_threshold").exp()
    scale = _scale(cfg, folder)
    by_batch = cfg.get("architecture") in _BY_BATCH
    if scale is not None:
        found["W_enc"] = found["W_enc"] * scale
        found["W_dec"], found["b_dec"] = found["W_dec"] / scale, found["b_dec"] / scale
        if by_batch and cfg.get("rescale_acts_by_decoder_norm", True) and "topk_threshold" in found:
            found["topk_threshold"] = found["topk_threshold"] / scale
    if by_batch:
        if "topk_threshold" not in found:
            raise LoadError(f"The weights in {folder} lack topk_threshold, which a {cfg['architecture']} one has.")
        if cfg.pop("rescale_acts_by_decoder_norm", True):
            norm = found["W_dec"].norm(dim=-1).clamp(min=1e-8)
            found["W_enc"], found["b_enc"] = found["W_enc"] * norm, found["b_enc"] * norm
            found["W_dec"] = found["W_dec"] / norm[:, None]
        found["threshold"] = torch.ones_like(found["b_enc"]) * float(found.pop("topk_threshold"))
        cfg["architecture"] = "jumprelu"
    return cfg, found


def _scale(cfg: dict[str, Any], folder: Path) -> float | None:
    """The factor that activations are still to be multiplied by; None where there is none."""
    kind = cfg.get("normalize_activations")
    if kind == "covariance_whitening":
        raise LoadError(f"{folder} was cut off in a training on whitened activations; let SAELens finish it first.")
    if kind != "expected_average_only_in":
        return None
    cfg["normalize_activations"] = "none"
    # Published ones of this kind have it in their weights; only a training's checkpoint has it beside them.
    found = read_json(folder / SCALE).get("scaling_factor") if (folder / SCALE).is_file() else None
    return None if found is None else float(found)
