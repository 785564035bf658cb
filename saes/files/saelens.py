"""SAELens' layout: a folder with ``cfg.json`` and ``sae_weights.safetensors``, both ways.

What SAELens has no word for (one token in so many, a subspace, our hook names) goes into its free ``metadata`` under
``workbench``; a basis has a file of its own, ``basis.safetensors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from workbench.errors import LoadError
from workbench.saes.autoencoder import ACTIVATIONS, SaeConfig, SparseAutoencoder
from workbench.saes.files import names
from workbench.saes.files.tensors import make_folder, read_json, read_tensors, write_json, write_tensors
from workbench.saes.files.unfinished import finished

CONFIG, WEIGHTS, BASIS = "cfg.json", "sae_weights.safetensors", "basis.safetensors"
UNREAD = {
    "temporal": "its features depend on the tokens before",
    "matching_pursuit": "its features are found one after another, by a search",
    "abstopk": "its features may be negative",
}
"""Architectures of SAELens that are not read, and why."""

# Keys of the file that SaeConfig has a place for; everything else is kept in its details.
_PLACED = {"architecture", "d_in", "d_sae", "d_out", "k", "apply_b_dec_to_input", "rescale_acts_by_decoder_norm"}
_PLACED |= {"normalize_activations", "metadata", "device", "dtype", "reshape_activations"}
_PLACED_METADATA = {"model_name", "hook_name", "hook_name_out", "hook_head_index", "workbench"}
_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}


def write(sae: SparseAutoencoder, folder: Path) -> None:
    """Write an autoencoder so that ``sae_lens.SAE.load_from_disk(folder)`` loads it, with equal numbers.

    Raises:
        InputError: the folder cannot be written; each file in it is whole, the new one or the old.
    """
    make_folder(folder)
    cfg = sae.cfg
    heads = cfg.head is None and (cfg.hook or "").endswith("hook_z") and sae.basis is None
    named: dict[str, Any] = {
        "architecture": cfg.architecture,
        "d_in": cfg.d_in,
        "d_sae": cfg.d_sae,
        "dtype": str(sae.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": cfg.apply_b_dec_to_input,
        "normalize_activations": cfg.normalize_activations,
        # What it reads is [batch, time, head, width] there, as here; SAELens lays the heads side by side by itself.
        "reshape_activations": "hook_z" if heads else "none",
        "metadata": _metadata(sae),
    }
    if cfg.transcodes:
        named["d_out"] = cfg.width_out
    if cfg.activation == "topk":
        named |= {"k": cfg.k, "rescale_acts_by_decoder_norm": cfg.rescale_acts_by_decoder_norm}
    # The weights first: a folder is an autoencoder as soon as it has both.
    write_tensors(folder / WEIGHTS, sae.state_dict())
    if sae.basis is None:
        (folder / BASIS).unlink(missing_ok=True)
    else:
        write_tensors(folder / BASIS, {"basis": sae.basis})
    write_json(folder / CONFIG, named)


def read(folder: Path, dtype: torch.dtype | None = None) -> SparseAutoencoder:
    """Read what SAELens 3 to 6 or `write` wrote.

    A checkpoint of SAELens' training is read, too: BatchTopK and Matryoshka ones become JumpReLU, as SAELens saves them
    in the end, and a scale of the activations that lies beside it is put into the weights.

    Raises:
        LoadError: a file is missing, damaged, or says something that is not read here; the sentence names it.
    """
    said = _flat(read_json(folder / CONFIG), folder)
    weights, _ = read_tensors(folder / WEIGHTS)
    stored = _dtype(said.get("dtype", "float32"), folder) if dtype is None else dtype
    # A threshold of a training's checkpoint is kept in more digits than the rest.
    weights = {name: tensor.to(stored) if tensor.dim() else tensor for name, tensor in weights.items()}
    said, weights = finished(said, weights, folder)
    weights = {name: tensor.to(stored) for name, tensor in weights.items()}
    basis = None
    if (folder / BASIS).is_file():
        basis = read_tensors(folder / BASIS)[0].get("basis")
        if basis is None or basis.dim() != 2:
            raise LoadError(f"{folder / BASIS} holds no matrix called basis.")
    return SparseAutoencoder(_config(said, folder), weights, basis)


def _metadata(sae: SparseAutoencoder) -> dict[str, Any]:
    cfg = sae.cfg
    ours = {"hook": cfg.hook, "hook_out": cfg.hook_out, "every": cfg.every}
    spelled = (lambda name: name) if cfg.details.get("recurrent") else names.transformer_lens
    # Of SAELens before version 6 there are no files with metadata, so it takes a version to be read as new.
    found = {"sae_lens_version": version("sae-lens"), "sae_lens_training_version": None, **cfg.details}
    found |= {"model_name": cfg.model_name, "hook_name": cfg.hook and spelled(cfg.hook), "hook_head_index": cfg.head}
    if cfg.hook_out is not None:
        found["hook_name_out"] = spelled(cfg.hook_out)
    return found | {"workbench": {name: value for name, value in ours.items() if value is not None}}


def _flat(held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The file's settings under the names that they have in version 6."""
    said = {_RENAMED.get(name, name): value for name, value in held.items()}
    metadata = said.pop("metadata", None) or {}
    older = not metadata and "hook_name" in said
    if older or not (metadata.get("sae_lens_version") or said.get("sae_lens_version")):
        # What version 6 takes for granted in files before it.
        said = {"architecture": "standard", "apply_b_dec_to_input": True, **said}
        if said.get("activation_fn") == "topk":
            kwargs = said.get("activation_fn_kwargs") or {}
            said = {**said, "architecture": "topk", "k": kwargs.get("k", said.get("k"))}
        if said.get("normalize_activations") is True:
            said["normalize_activations"] = "expected_average_only_in"
        said["normalize_activations"] = said.get("normalize_activations") or "none"
        if said.get("finetuning_scaling_factor"):
            raise LoadError(
                f"{folder} was fine-tuned with a scale a feature (finetuning_scaling_factor), not read here."
            )
        moved = {name: said.pop(name) for name in _PLACED_METADATA & said.keys()}
        metadata = {**moved, **metadata}
    return {**said, "metadata": metadata}


def _config(said: Mapping[str, Any], folder: Path) -> SaeConfig:
    metadata = said["metadata"]
    ours = metadata.get("workbench") or {}
    hook, hook_out = (_hook(metadata, ours, "hook" + end, "hook_name" + end) for end in ("", "_out"))
    architecture = said.get("architecture")
    rest = {name: value for name, value in said.items() if name not in _PLACED}
    rest |= {name: value for name, value in metadata.items() if name not in _PLACED_METADATA}
    sizes = {name: said.get(name) for name in ("d_in", "d_sae")}
    if not all(isinstance(size, int) for size in sizes.values()):
        raise LoadError(
            f"{folder / CONFIG} does not say how wide the autoencoder is: d_in and d_sae are whole numbers."
        )
    if architecture in UNREAD:
        raise LoadError(f"{folder} is a {architecture} autoencoder, which is not read here: {UNREAD[architecture]}.")
    if architecture not in ACTIVATIONS:
        raise LoadError(f"{folder} has the unknown architecture {architecture!r}; read are {', '.join(ACTIVATIONS)}.")
    topk = ACTIVATIONS[architecture] == "topk"
    return SaeConfig(
        architecture,
        int(said["d_in"]),
        int(said["d_sae"]),
        d_out=said.get("d_out") if "transcoder" in architecture else None,
        k=said.get("k", 100) if topk else None,  # SAELens' own default
        apply_b_dec_to_input=bool(said.get("apply_b_dec_to_input", True)) and "transcoder" not in architecture,
        rescale_acts_by_decoder_norm=topk and bool(said.get("rescale_acts_by_decoder_norm", False)),
        normalize_activations=said.get("normalize_activations") or "none",
        hook=hook,
        hook_out=hook_out,
        head=metadata.get("hook_head_index"),
        every=int(ours.get("every", 1)),
        model_name=metadata.get("model_name"),
        details=rest,
    )


def _hook(metadata: Mapping[str, Any], ours: Mapping[str, Any], here: str, there: str) -> str | None:
    if ours.get(here):
        return str(ours[here])
    return names.canonical(str(metadata[there])) if metadata.get(there) else None


def _dtype(name: Any, folder: Path) -> torch.dtype:
    found = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LoadError(f"{folder / CONFIG} has the dtype {name!r}, which is no floating-point one.")
    return found
