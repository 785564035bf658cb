"""Any other checkpoint, through a table of what its tensors are called and what they are here.

Gemma Scope's ``params.npz``, as an example::

    names = {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    load_sae("params.npz", KeyMap(names, architecture="jumprelu", hook="blocks.20.hook_resid_post"))

and a checkpoint with two ``nn.Linear``, whose matrices are the other way round::

    names = {"encoder.weight": "W_enc.T", "encoder.bias": "b_enc", "decoder.weight": "W_dec.T", "decoder.bias": "b_dec"}
    load_sae("ae.pt", KeyMap(names, architecture="topk", k=64, hook="blocks.8.hook_resid_post"))
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError, LoadError
from workbench.saes.autoencoder import ACTIVATIONS, SaeConfig, SparseAutoencoder, weight_shapes
from workbench.saes.files.tensors import read_tensors

_OPTIONS = tuple(name for name in SaeConfig.__dataclass_fields__ if name not in ("architecture", "d_in", "d_sae"))


@dataclass(frozen=True)
class KeyMap:
    """What the tensors of a checkpoint are called, and what kind of autoencoder they make.

    Attributes:
        names: the checkpoint's name -> ours (``W_enc``, ``W_dec``, ``b_enc``, ``b_dec``, ``threshold``, ...; see
            `SparseAutoencoder`), with ``.T`` behind it where the matrix lies the other way round. What is not named is
            left out.
        architecture: a key of `ACTIVATIONS`.
        zeros: weights of ours that the checkpoint lacks because they are 0, such as ``("b_enc",)``.
        options: further settings of `SaeConfig`: ``k``, ``hook``, ``model_name``, ``apply_b_dec_to_input``, ....

    Raises:
        InputError: an architecture or an option that does not exist, or two tensors for one weight.
    """

    names: Mapping[str, str]
    architecture: str = "standard"
    zeros: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        names: Mapping[str, str],
        architecture: str = "standard",
        *,
        zeros: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        if architecture not in ACTIVATIONS:
            raise InputError(f"No architecture is called {architecture!r}; it is one of {', '.join(ACTIVATIONS)}.")
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise InputError(f"An autoencoder has no setting {unknown[0]!r}; it has {', '.join(_OPTIONS)}.")
        meant = [name.removesuffix(".T") for name in names.values()]
        twice = [name for name in meant if meant.count(name) > 1]
        if twice:
            raise InputError(f"Two tensors of the checkpoint are called {twice[0]} here; name one.")
        for name, value in (("names", dict(names)), ("architecture", architecture), ("zeros", zeros)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "options", options)


def read(path: Path, key_map: KeyMap, dtype: torch.dtype | None = None) -> SparseAutoencoder:
    """Read tensors of a ``.safetensors``, ``.npz``, ``.pt``, ``.pth`` or ``.bin`` file; no pickled code is run.

    Raises:
        LoadError: the file is missing or damaged, lacks a tensor that is named, or its shapes do not make an
            autoencoder.
    """
    held = _tensors(path)
    missing = [name for name in key_map.names if name not in held]
    if missing:
        raise LoadError(f"{path} has no tensor {missing[0]}; it has {', '.join(sorted(held)[:12])}.")
    weights: dict[str, Tensor] = {}
    for theirs, ours in key_map.names.items():
        tensor = held[theirs] if dtype is None else held[theirs].to(dtype)
        if ours.endswith(".T") and tensor.dim() != 2:
            raise LoadError(f"{theirs} in {path} has shape {[*tensor.shape]}; only a matrix can be transposed.")
        weights[ours.removesuffix(".T")] = tensor.T.contiguous() if ours.endswith(".T") else tensor
    for name in ("W_enc", "W_dec"):
        if name not in weights or weights[name].dim() != 2:
            raise LoadError(f"The names for {path} do not say which matrix {name} is.")
    d_in, d_sae = weights["W_enc"].shape
    d_out = weights["W_dec"].shape[1]
    if "transcoder" not in key_map.architecture and (d_out != d_in or len(weights["W_dec"]) != d_sae):
        raise LoadError(
            f"W_enc of {path} has shape {[d_in, d_sae]} and W_dec {[*weights['W_dec'].shape]}; [d_in, d_sae] and "
            "[d_sae, d_in] are needed: put .T behind the name of a matrix that lies the other way round."
        )
    sizes = {"d_out": int(d_out)} if "transcoder" in key_map.architecture else {}
    cfg = SaeConfig(key_map.architecture, int(d_in), int(d_sae), **{**sizes, **key_map.options})
    shapes = weight_shapes(cfg)
    for name in key_map.zeros:
        if name not in shapes:
            raise LoadError(f"A {cfg.architecture} autoencoder has no weight {name} to be zero.")
        weights[name] = torch.zeros(shapes[name], dtype=weights["W_enc"].dtype)
    return SparseAutoencoder(cfg, weights)


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    if not path.is_file():
        raise LoadError(f"There is no file {path}.")
    if path.suffix == ".npz":
        return _arrays(path)
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise LoadError(f"{path} is no file of tensors; .safetensors, .npz, .pt, .pth and .bin are read.")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise LoadError(f"{path} is damaged, or holds more than tensors, which is not run.") from error
    if not isinstance(held, Mapping):
        raise LoadError(f"{path} holds no table of tensors.")
    return {str(name): value for name, value in held.items() if isinstance(value, Tensor)}


def _arrays(path: Path) -> dict[str, Tensor]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: torch.from_numpy(held[name]) for name in held.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LoadError(f"{path} is damaged, or holds more than arrays of numbers.") from error
