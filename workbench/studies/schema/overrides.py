"""``--set a.b=c``: a study's values changed on the command line, before it is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import InputError
from workbench.studies.schema.paths import Place
from workbench.studies.schema.yaml_text import read_yaml

_ELEMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|[0-9]{1,6}")


@dataclass(frozen=True)
class Override:
    """One value to change.

    Attributes:
        place: what is changed.
        value: what it becomes.
        text: as it was typed.
    """

    place: Place
    value: Any
    text: str


def parse_override(text: str) -> Override:
    """``edits.0.search.k=3`` or ``edits[0].search.k=3``; what stands after ``=`` is read as in the file.

    Raises:
        InputError: there is no ``=``, no path before it, or no YAML value after it.
    """
    path, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write KEY=VALUE, such as run.workers=2 or edits.0.name=heads.")
    elements = path.strip().replace("[", ".").replace("]", "").split(".")
    if not all(_ELEMENT.fullmatch(element) for element in elements):
        raise InputError(
            f"--set {text}: {path!r} is no path in a study; write keys and numbers of list items parted by dots, "
            "such as edits.0.name."
        )
    document = read_yaml(value)
    if document.problems:
        raise InputError(f"--set {text}: {document.problems[0].says}.")
    place = tuple(int(element) if element.isdigit() else element for element in elements)
    return Override(place, document.value, text)


def apply_overrides(given: Any, overrides: Sequence[Override]) -> Any:
    """A study's plain values with others in their place; what was handed in stays as it was.

    A kind given by its word alone becomes a mapping where one of its options is set, and a model its id.

    Raises:
        InputError: a place is set twice, lies in something that has no parts, or beyond the end of a list.
    """
    places = [override.place for override in overrides]
    twice = next((override for override in overrides if places.count(override.place) > 1), None)
    if twice is not None:
        raise InputError(f"--set gives {twice.text.partition('=')[0]} twice.")
    for override in overrides:
        given = _changed(given, override.place, override, "")
    return given


def _changed(given: Any, place: Place, override: Override, key: str) -> Any:
    """`given`, which stands under `key`, with the override at `place` below it."""
    if not place:
        return override.value
    first, rest = place[0], place[1:]
    if isinstance(first, int):
        if key == "models" and given is not None and not isinstance(given, list):
            given = [given]  # a single model needs no list
        listed = list(given) if isinstance(given, list) else None if given is not None else []
        if listed is None or first > len(listed):
            said = "is no list" if listed is None else f"has {len(listed)} items, numbered from 0"
            raise InputError(f"--set {override.text}: {key or 'the study'} {said}.")
        if first == len(listed):
            listed.append(None)
        listed[first] = _changed(listed[first], rest, override, key)
        return listed
    if isinstance(given, list):
        raise InputError(
            f"--set {override.text}: {key} is a list of {len(given)}; write which of them: {key}.0.{first}=..."
        )
    if isinstance(given, str):
        given = {"id" if key == "models" else "kind": given}
    if given is not None and not isinstance(given, dict):
        raise InputError(f"--set {override.text}: {key} is {given!r}, which has no keys.")
    found = dict(given or {})
    found[first] = _changed(found.get(first), rest, override, first)
    return found
