"""Autoencoders on disk: SAELens' layout both ways, sparsify's, and any other through a table of names. No pickle."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from workbench.errors import InputError, LoadError
from workbench.model import HookedModel
from workbench.saes import shipped
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.files import key_map as by_names
from workbench.saes.files import saelens, sparsify
from workbench.saes.files.key_map import KeyMap

__all__ = ["KeyMap", "load_sae", "save_sae"]

LAYOUTS = ("saelens", "sparsify")


def save_sae(sae: SparseAutoencoder, folder: Path | str) -> Path:
    """Write an autoencoder as SAELens does: ``sae_lens.SAE.load_from_disk(folder)`` loads it with equal numbers.

    Two of our architectures, sparsify's TopK transcoders, have no class in SAELens: only `load_sae` reads those.

    Raises:
        InputError: the folder cannot be written; each file in it is whole, the new one or the old.
    """
    saelens.write(sae, Path(folder))
    return Path(folder)


def load_sae(
    path: Path | str,
    layout: str | KeyMap | None = None,
    *,
    model: HookedModel | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> SparseAutoencoder:
    """Read an autoencoder from disk; no pickled code is run.

    Args:
        path: a folder that SAELens (versions 3 to 6), sparsify or `save_sae` wrote; with a `KeyMap`, a file; or
            the name of one that comes with the workbench, such as ``"zoo:mamba/state"``.
        layout: ``"saelens"``, ``"sparsify"``, a `KeyMap` for anything else, or None to go by the files that are there.
        model: the model it will be used on, to refuse at once what does not fit.
        dtype: of the weights; None for the file's.

    Raises:
        LoadError: no autoencoder lies there, a file is damaged or truncated, its architecture is not read; says which.
        InputError: `model` lacks the hook, or has vectors of another width there; a layout that does not exist.
    """
    place = shipped.directory(str(path)) if str(path).startswith(shipped.PREFIX) else Path(path)
    if isinstance(layout, KeyMap):
        sae = by_names.read(place, layout, dtype)
    else:
        kind = _layout(place) if layout is None else layout
        if kind not in LAYOUTS:
            raise InputError(f"No layout is called {kind!r}; there is {', '.join(LAYOUTS)}, and KeyMap for others.")
        sae = saelens.read(place, dtype) if kind == "saelens" else sparsify.read(place, dtype)
    if model is not None:
        _check(sae, model, place)
    return sae.to(device)


def _layout(folder: Path) -> str:
    if (folder / saelens.WEIGHTS).is_file() or not (folder / sparsify.WEIGHTS).is_file():
        if not folder.is_dir():
            hint = "; pass a KeyMap that names its tensors" if folder.is_file() else ""
            raise LoadError(f"{folder} is no folder with an autoencoder{hint}.")
        if not (folder / saelens.CONFIG).is_file():
            raise LoadError(f"There is no autoencoder in {folder}: it has no {saelens.CONFIG}.")
        return "saelens"
    return "sparsify"


def _check(sae: SparseAutoencoder, model: HookedModel, place: Path) -> None:
    named, given = (str(name or "").rsplit("/", 1)[-1].lower() for name in (sae.cfg.model_name, model.cfg.model_name))
    if named and given and named != given:
        # Several names go for one model (gpt2, gpt2-small), so this alone is no reason to refuse.
        warnings.warn(
            f"{place} was trained on {sae.cfg.model_name}, and is used on {model.cfg.model_name}.", stacklevel=3
        )
    if sae.cfg.hook is not None:
        sae.site(model)
    if sae.cfg.transcodes and sae.cfg.hook_out is not None:
        sae.site_out(model)
