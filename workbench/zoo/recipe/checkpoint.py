"""Checkpoints of a training run: weights as safetensors, the optimisers' moments beside them, written atomically."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from workbench.zoo.loading import read_weights, write_weights
from workbench.zoo.model import ZooModel

NEWEST = "checkpoint"


def save_checkpoint(
    folder: Path, model: ZooModel, optimisers: list[torch.optim.Optimizer], step: int, keep: bool = False
) -> None:
    """Replace ``folder/checkpoint``; with ``keep`` also leave the weights as ``folder/step-N.safetensors``.

    The new checkpoint is written beside the old one and renamed into place. Between the two renames the old one is
    ``checkpoint.old``, from which ``load_checkpoint`` recovers.
    """
    fresh, current, old = (folder / f"{NEWEST}{suffix}" for suffix in (".new", "", ".old"))
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write_weights(model, fresh / "model.safetensors")
    torch.save([optimiser.state_dict() for optimiser in optimisers], fresh / "optimisers.pt")
    (fresh / "progress.json").write_text(json.dumps({"step": step}))
    if keep:
        shutil.copyfile(fresh / "model.safetensors", folder / f"step-{step}.safetensors")
    shutil.rmtree(old, ignore_errors=True)
    if current.exists():
        current.rename(old)
    fresh.rename(current)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: ZooModel, optimisers: list[torch.optim.Optimizer]) -> int:
    """Restore the newest checkpoint and return the number of steps done; 0 where there is none."""
    found = next((p for p in (folder / NEWEST, folder / f"{NEWEST}.old") if p.exists()), None)
    if found is None:
        return 0
    read_weights(model, found / "model.safetensors")
    for optimiser, state in zip(optimisers, torch.load(found / "optimisers.pt", weights_only=True), strict=True):
        optimiser.load_state_dict(state)
    return int(json.loads((found / "progress.json").read_text())["step"])
