"""EleutherAI's layout (the package ``sparsify``): a folder with ``cfg.json`` and ``sae.safetensors``, read only.

Their coder is ``topk(relu((x - b_dec) encoder.weight^T + encoder.bias)) W_dec + b_dec``; a transcoder's input is not
centred, and may have ``W_skip``. The folder is named after the module whose output was read (``layers.5``,
``layers.5.mlp``, ``embed_tokens``); the model's name is in ``config.json`` one folder up, where there is one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from workbench.errors import LoadError
from workbench.saes.autoencoder import SaeConfig, SparseAutoencoder
from workbench.saes.files.tensors import read_json, read_tensors

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
_NAMES = {"encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec", "W_skip": "W_skip"}
_MODULES = {"": "hook_resid_post", "mlp": "hook_mlp_out", "attn": "mixer.hook_out", "self_attn": "mixer.hook_out"}
_MODULES |= {"attention": "mixer.hook_out", "mixer": "mixer.hook_out"}


def read(folder: Path, dtype: torch.dtype | None = None) -> SparseAutoencoder:
    """Read a folder of sparsify's.

    Raises:
        LoadError: a file is missing or damaged; an activation other than topk; a skip from the embedding or an n-gram
            table, which are inputs that an autoencoder of ours does not have.
    """
    said = read_json(folder / CONFIG)
    for name in ("embed_skip", "gram_lookup"):
        if said.get(name):
            raise LoadError(f"{folder} was trained with {name}: it needs more than one hook's vectors, not read here.")
    if said.get("activation", "topk") != "topk" or said.get("signed"):
        kind = "signed topk" if said.get("signed") else said["activation"]
        raise LoadError(f"{folder} has the activation {kind}; of sparsify's, topk is read.")
    held, _ = read_tensors(folder / WEIGHTS)
    if "encoder.weight" not in held:
        raise LoadError(f"{folder / WEIGHTS} lacks encoder.weight; it has {', '.join(sorted(held))}.")
    weights = {_NAMES.get(name, name): tensor for name, tensor in held.items() if name != "encoder.weight"}
    weights["W_enc"] = held["encoder.weight"].T
    weights = {name: (tensor if dtype is None else tensor.to(dtype)).contiguous() for name, tensor in weights.items()}
    transcodes = bool(said.get("transcode"))
    skips = bool(said.get("skip_connection"))
    kind = "topk" if not transcodes else "topk_skip_transcoder" if skips else "topk_transcoder"
    if skips and not transcodes:
        raise LoadError(f"{folder} is an autoencoder with a skip connection; only transcoders have one here.")
    d_sae, d_in = held["encoder.weight"].shape
    hook = _hook(folder.name)
    origin = _json(folder.parent / "config.json")
    cfg = SaeConfig(
        kind,
        int(d_in),
        int(d_sae),
        k=int(said.get("k", 32)),
        apply_b_dec_to_input=not transcodes,
        hook=_input(hook) if transcodes else hook,
        hook_out=hook if transcodes else None,
        model_name=origin.get("model"),
        details={"sparsify": said} | ({"dataset_path": origin["dataset"]} if "dataset" in origin else {}),
    )
    return SparseAutoencoder(cfg, weights)


def _hook(folder: str) -> str | None:
    """The hook that a folder is named after; None for a name that says nothing."""
    if folder in ("embed_tokens", "embed_in", "wte"):
        return "hook_embed"
    found = re.fullmatch(r"(?:.*\.)?(?:layers|layer|h)[._](\d+)(?:\.(\w+))?", folder)
    if found is None or (found[2] or "") not in _MODULES:
        return None
    return f"blocks.{found[1]}.{_MODULES[found[2] or '']}"


def _input(hook: str | None) -> str | None:
    """Where the input of the module with this output is; an MLP's, which is behind its norm, is no hook of ours."""
    return hook.replace("mixer.hook_out", "mixer.hook_in") if hook and hook.endswith("mixer.hook_out") else None


def _json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
