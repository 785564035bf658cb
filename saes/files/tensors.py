"""Tensors and JSON on disk: files that are there in full or not at all, and broken ones named in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.checkpoints import check_safetensors
from workbench.errors import InputError, LoadError
from workbench.report.files import replacing, write_atomically


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error


def write_tensors(file: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, in full or not at all.

    Args:
        header: strings to keep in the file's own header.

    Raises:
        InputError: the disk is full or the file cannot be written; what was there before is still there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    held = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        with replacing(file) as temporary:
            save_file(held, temporary, metadata=dict(header or {}))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} could not be written: {getattr(error, 'strerror', None) or error}.") from error


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file.

    Raises:
        LoadError: there is no such file, or it is corrupt or truncated.
    """
    from safetensors import safe_open

    if not file.is_file():
        raise LoadError(f"There is no file {file}.")
    check_safetensors(file)
    with safe_open(str(file), framework="pt") as held:
        return {name: held.get_tensor(name) for name in held.keys()}, dict(held.metadata() or {})  # noqa: SIM118


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write plain values as JSON, in full or not at all. Raises InputError as `write_atomically` does."""
    write_atomically(file, json.dumps(value, indent=2, default=_plain) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises LoadError where there is none."""
    if not file.is_file():
        raise LoadError(f"There is no file {file}.")
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise LoadError(f"{file} is no valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise LoadError(f"{file} holds no JSON object.")
    return found


def _plain(value: Any) -> Any:
    """What JSON has no word for, as it is least likely to mislead: numbers as numbers, all else as text."""
    return value.item() if hasattr(value, "item") else str(value)
