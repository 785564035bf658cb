"""Tuned lenses on disk, as the authors' package ``tuned-lens`` (0.2.0) writes and reads them.

A folder with ``config.json`` (base_model_name_or_path, d_model, num_hidden_layers, bias, base_model_revision,
unembed_hash, lens_type) and ``params.pt``, a state dict with ``{l}.weight`` and ``{l}.bias``. On their hub the folders
lie under ``lens/``, named after the model.
"""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.lenses.tuned import TunedLens
from workbench.probes.lenses.unembedding import Unembedding
from workbench.report.files import replacing

CONFIG, PARAMETERS = "config.json", "params.pt"
LENS_TYPE = "linear_tuned_lens"


def save_tuned_lens(lens: TunedLens, folder: Path | str, revision: str | None = None) -> Path:
    """Write a lens as a folder that the authors' package reads; each file is there in full or as it was before.

    Args:
        lens: what to write.
        folder: made where it does not exist.
        revision: of the model's weights, for the record.

    Raises:
        InputError: the folder cannot be written, or the model has no unembedding matrix to be recognised by.
    """
    folder = Path(folder)
    config = {
        "base_model_name_or_path": lens.model.cfg.model_name,
        "d_model": lens.unembedding.width,
        "num_hidden_layers": lens.n_layers,
        "bias": lens.bias,
        "base_model_revision": revision,
        "unembed_hash": lens.unembedding.hash,
        "lens_type": LENS_TYPE,
    }
    parameters = {name: tensor.detach().cpu().clone() for name, tensor in lens.translators.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"A lens cannot be saved in {folder}: {error.strerror}.") from error
    # The parameters first: a folder is a lens as soon as it has both.
    save_tensors(parameters, folder / PARAMETERS)
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")
    return folder


@checked_call
def load_tuned_lens(folder: Path | str, model: HookedModel | Unembedding) -> TunedLens:
    """Read a lens that `save_tuned_lens` or the authors' package wrote; no pickle is executed.

    Raises:
        InputError: no lens lies there, it is damaged, or it was trained for another model (its unembedding's hash, its
            width or its number of layers differ).
    """
    folder = Path(folder)
    config = _config(folder)
    unembedding = model if isinstance(model, Unembedding) else Unembedding(model)
    name = unembedding.model.cfg.model_name
    trained_for = f"The lens in {folder} was trained for {config.get('base_model_name_or_path', 'another model')}"
    sizes = (config["d_model"], config["num_hidden_layers"])
    if sizes != (unembedding.width, unembedding.model.cfg.n_layers):
        raise InputError(
            f"{trained_for} with {sizes[1]} layers of width {sizes[0]}; {name} has "
            f"{unembedding.model.cfg.n_layers} of width {unembedding.width}."
        )
    expected = config.get("unembed_hash")
    if expected is None:
        warnings.warn(f"The lens in {folder} does not say which unembedding it was trained for.", stacklevel=2)
    elif expected != unembedding.hash:
        raise InputError(f"{trained_for}: its unembedding has another hash than that of {name}.")
    lens = TunedLens(unembedding, bias=bool(config.get("bias", True)))
    parameters = load_tensors(folder / PARAMETERS)
    wanted = {key: tuple(tensor.shape) for key, tensor in lens.translators.state_dict().items()}
    found = {key: tuple(getattr(tensor, "shape", ())) for key, tensor in parameters.items()}
    if wanted != found:
        wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise InputError(f"{folder / PARAMETERS} is no tuned lens of its config.json: {', '.join(wrong[:3])} differ.")
    lens.translators.load_state_dict(parameters)
    return lens


def save_tensors(tensors: Any, path: Path) -> None:
    """`torch.save` of tensors and plain values; the file is there in full or as it was before."""
    with replacing(path) as temporary:
        torch.save(tensors, temporary)


def load_tensors(path: Path) -> dict[str, Any]:
    """Tensors and plain values of a file of `torch.save`, nothing else being unpickled.

    Raises:
        InputError: no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise InputError(
            f"{path} is no file of tensors; it is damaged, or holds something that is not loaded."
        ) from error
    if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
        raise InputError(f"{path} holds no tensors under names.")
    return held


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"There is no tuned lens in {folder}: {CONFIG} is missing.")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
    if not isinstance(config, dict) or not all(
        isinstance(config.get(key), int) for key in ("d_model", "num_hidden_layers")
    ):
        raise InputError(f"{path} is no configuration of a tuned lens: d_model and num_hidden_layers are needed.")
    kind = config.get("lens_type", LENS_TYPE)
    if kind != LENS_TYPE:
        raise InputError(f"{path} describes a lens of type {kind!r}; only {LENS_TYPE!r} is known.")
    return config
