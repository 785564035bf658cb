"""Published checkpoints of families that transformers does not have, by the ``model_type`` of their config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from workbench.errors import LoadError, UnsupportedFamilyError
from workbench.zoo.model import Decoder
from workbench.zoo.published.keys import KeyMap, read_weights

Builder: TypeAlias = Callable[[Mapping[str, Any]], tuple[Decoder, KeyMap]]
"""From a config.json to the native model, with whatever weights, and where the checkpoint has each of them."""

_builders: dict[str, Builder] = {}


def register(model_type: str) -> Callable[[Builder], Builder]:
    """Let a function build the models whose configuration names this ``model_type``.

    Raises:
        ValueError: the name is taken by another function.
    """

    def decorate(builder: Builder) -> Builder:
        if _builders.setdefault(model_type, builder) is not builder:
            raise ValueError(f"{model_type!r} is built by {_builders[model_type]!r} already")
        return builder

    return decorate


def model_types() -> list[str]:
    """The ``model_type`` of every family that can be read, sorted."""
    return sorted(_builders)


def is_published(directory: Path) -> bool:
    """Whether the directory's config.json names one of them."""
    return _configuration(directory).get("model_type") in _builders


def load(directory: Path) -> Decoder:
    """The native model of a directory with config.json and safetensors, in evaluation mode and the stored dtype.

    Raises:
        LoadError: the configuration or the weights are incomplete or do not fit each other.
        UnsupportedFamilyError: nobody builds the ``model_type``, or not that variant; the message names the key.
    """
    values = _configuration(directory)
    builder = _builders.get(str(values.get("model_type")))
    if builder is None:
        raise UnsupportedFamilyError(
            f"{directory} has the model_type {values.get('model_type')!r}; there are key maps for "
            f"{', '.join(model_types())}."
        )
    with torch.device("meta"):  # no time spent on numbers that the file replaces
        model, keys = builder(values)
    read_weights(model, directory, keys)
    return model.eval()


def _configuration(directory: Path) -> dict[str, Any]:
    try:
        values = json.loads((directory / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{directory} has no readable config.json: {error}.") from error
    if not isinstance(values, dict):
        raise LoadError(f"{directory / 'config.json'} holds {type(values).__name__}, not an object.")
    return values
