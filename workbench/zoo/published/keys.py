"""Key maps: which tensor of a published checkpoint is which parameter of a native model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workbench.errors import LoadError


@dataclass(frozen=True)
class Stored:
    """Where a parameter is found when its name alone does not say it all.

    Attributes:
        names: names it may have, the first one that the file holds counts; ``{layer}`` stands for the block's number.
        convert: makes the parameter from the stored tensor and the block's number; several parameters may be made from
            one tensor. None where it is stored as it is.
    """

    names: tuple[str, ...]
    convert: Callable[[Tensor, int], Tensor] | None = None


KeyMap: TypeAlias = Mapping[str, str | Stored]
"""From a native parameter, its block written ``blocks.{layer}``, to where the checkpoint has it."""


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of a directory's safetensors files.

    Raises:
        LoadError: two files hold a tensor of the same name.
    """
    tensors: dict[str, Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        part = load_file(file)
        twice = sorted(tensors.keys() & part.keys())
        if twice:
            raise LoadError(f"{directory} holds {twice[0]} in more than one file.")
        tensors |= part
    return tensors


@torch.no_grad()
def read_weights(model: nn.Module, directory: Path, keys: KeyMap) -> None:
    """Give every parameter of a model the checkpoint's tensor, in the dtype it is stored in.

    The model may lie on the meta device. Parameters that are one tensor under two names stay so. No tensor of the
    checkpoint may be left over.

    Raises:
        LoadError: a parameter is missing, has another shape, or a tensor belongs to no parameter.
    """
    tensors = read_tensors(directory)
    needed: dict[str, Tensor] = {**model.state_dict(keep_vars=True)}
    first = {id(wanted): name for name, wanted in reversed(needed.items())}
    used: set[str] = set()
    missing: list[str] = []
    found: dict[str, Tensor] = {}
    for name, wanted in needed.items():
        template, layer = _template(name)
        stored = keys[template]
        stored = Stored((stored,)) if isinstance(stored, str) else stored
        places = [place.format(layer=layer) for place in stored.names]
        place = next((place for place in places if place in tensors), None)
        owner = first[id(wanted)]
        if place is None:
            if owner == name:
                missing.append(places[0])
            continue
        used.add(place)
        tensor = tensors[place] if stored.convert is None else stored.convert(tensors[place], layer)
        if tensor.shape != wanted.shape:
            raise LoadError(
                f"{directory} does not fit its configuration: {place} gives {list(tensor.shape)} where the model needs "
                f"{list(wanted.shape)}."
            )
        if owner in found and not torch.equal(tensor, found[owner]):
            raise LoadError(f"{directory} ties {place} to another tensor by its configuration, but they differ.")
        found[name] = tensor
    _complain(directory, missing, sorted(tensors.keys() - used))
    model.load_state_dict({name: found[first[id(wanted)]] for name, wanted in needed.items()}, assign=True)
    for name, wanted in needed.items():
        if first[id(wanted)] != name:
            _share(model, name, first[id(wanted)])


def _template(name: str) -> tuple[str, int]:
    match = re.match(r"blocks\.(\d+)\.(.*)", name)
    return (name, 0) if match is None else (f"blocks.{{layer}}.{match[2]}", int(match[1]))


def _complain(directory: Path, missing: list[str], extra: list[str]) -> None:
    if missing:
        raise LoadError(f"{directory} lacks {len(missing)} of the model's weights, for example {missing[0]}.")
    if extra:
        raise LoadError(
            f"{directory} holds {len(extra)} weights that a model of its configuration does not have, for example "
            f"{extra[0]}."
        )


def _share(model: nn.Module, name: str, owner: str) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, model.get_parameter(owner))
