"""Paths in a study: relative to the study file, and never outside its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from workbench.errors import InputError

Place = tuple[str | int, ...]
"""Where something stands in a study: keys, and numbers of list items."""


def inside(base: Path, path: Path) -> Path:
    """Where a study's path leads, links followed.

    A study can be passed on with its folder, and one that somebody else wrote reads nothing beyond it.

    Args:
        base: the folder of the study file.

    Raises:
        InputError: it is absolute, leads out of the folder, or is no path at all.
    """
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} is no path")
    if path.is_absolute():
        raise InputError(f"the path {path} is absolute; paths are relative to the folder of the study file, {base}")
    home = base.resolve()
    led = (home / path).resolve()
    if not led.is_relative_to(home):
        raise InputError(f"the path {path} leads to {led}, outside the folder of the study file, {home}")
    return led


def paths_of(part: Any, place: Place = ()) -> Iterator[tuple[Place, Path]]:
    """Every path in a study, with where it stands: those of other packages' kinds, too."""
    if isinstance(part, Path):
        yield place, part
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from paths_of(getattr(part, name), (*place, name))
    elif isinstance(part, dict):
        for name, item in part.items():
            yield from paths_of(item, (*place, str(name)))
    elif isinstance(part, list | tuple):
        for number, item in enumerate(part):
            yield from paths_of(item, (*place, number))
