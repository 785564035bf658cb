"""Which keys may stand at a place of a study: what a message about an unknown key offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator

from workbench.studies.kinds import Kind, Registry
from workbench.studies.schema.paths import Place


def keys_at(root: type[BaseModel], given: Any, place: Place) -> list[str]:
    """The keys that the mapping at a place may have; empty where it is no mapping of fixed keys.

    Args:
        root: the class of the whole.
        given: the whole as plain values: the word of a kind says which options there are.
    """
    found = list(_in_model(root, given, place))
    here = part_at(given, place)
    if isinstance(here, dict) and len(found) > 1:
        # Of alternatives, those that most of the keys belong to.
        most = max(len(here.keys() & each.model_fields.keys()) for each in found)
        found = [each for each in found if len(here.keys() & each.model_fields.keys()) == most]
    keys = [name for each in found for name in (*(["kind"] if issubclass(each, Kind) else []), *each.model_fields)]
    return list(dict.fromkeys(keys))


def part_at(given: Any, place: Place) -> Any:
    """What plain values hold at a place; None where they hold nothing there."""
    for element in place:
        if isinstance(given, dict) and isinstance(element, str):
            given = given.get(element)
        elif isinstance(given, list) and isinstance(element, int) and element < len(given):
            given = given[element]
        else:
            return None
    return given


def sections(root: type[BaseModel]) -> dict[str, str]:
    """Where keys belong that are one level down: ``{"workers": "run", "task": "inputs"}``."""
    found: dict[str, str] = {}
    for name, field in root.model_fields.items():
        for below in _fixed(field.annotation):
            for key in below.model_fields:
                found.setdefault(key, name)
    return found


def _in_model(model: type[BaseModel], given: Any, place: Place) -> Iterator[type[BaseModel]]:
    if not place:
        yield model
    elif isinstance(place[0], str) and place[0] in model.model_fields:
        field = model.model_fields[place[0]]
        yield from _in(field.annotation, field.metadata, part_at(given, place[:1]), place[1:])


def _in(annotation: Any, metadata: Sequence[Any], given: Any, place: Place) -> Iterator[type[BaseModel]]:
    """Classes at a place below a value of an annotated type."""
    registry = next((each for each in map(_registry, metadata) if each is not None), None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if registry is not None:
        word = given.get("kind") if isinstance(given, Mapping) else given
        if isinstance(given, list) and registry.of_list is not None:
            word = registry.of_list[0]
        kind = registry.find(word) if isinstance(word, str) else None
        yield from () if kind is None else _in_model(kind, given, place)
    elif origin is Annotated:
        yield from _in(arguments[0], arguments[1:], given, place)
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from _in(each, (), given, place)
    elif origin is list and not isinstance(given, list):
        yield from _in(arguments[0], (), given, place)  # a single one needs no list
    elif origin in (list, dict) and place:
        yield from _in(arguments[-1], (), part_at(given, place[:1]), place[1:])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _in_model(annotation, given, place)


def _registry(note: Any) -> Registry[Any] | None:
    """The registry whose kinds a field holds, from what annotates it (`Registry.field`)."""
    owner = getattr(note.func, "__self__", None) if isinstance(note, BeforeValidator) else None
    return owner if isinstance(owner, Registry) else None


def _fixed(annotation: Any) -> Iterator[type[BaseModel]]:
    """Classes in a type that no word chooses between."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not issubclass(annotation, Kind):
            yield annotation
        return
    for each in get_args(annotation):
        yield from _fixed(each)
