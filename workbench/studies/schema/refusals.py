"""What pydantic refuses, as sentences: where it stands in the file, what is wrong, and what would be right."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from pydantic import BaseModel, ValidationError

from workbench.errors import nearest, offer
from workbench.studies.schema.keys import keys_at, part_at, sections
from workbench.studies.schema.paths import Place
from workbench.studies.schema.yaml_text import Problem

NEEDED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "path_type": "a path",
    "is_instance_of": "a path",
}
"""What pydantic's errors about types ask for."""

ALIKE, SIMILAR = 0.8, 0.6
"""Shares of letters in common from which on a key is another one misspelled, and may be."""

Context = Mapping[str, Any]
BOUNDS: dict[str, Callable[[Context], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
    "less_than": lambda context: f"less than {context['lt']:g}",
}


@dataclass(frozen=True)
class _Refusal:
    """One of pydantic's errors, with the place as it is written.

    Attributes:
        union: place of the alternatives that it is about one of; None where there is just one way.
        alternative: which of them.
    """

    place: Place
    union: Place | None
    alternative: str
    type: str
    given: Any
    context: Context
    message: str


def refusals(error: ValidationError, root: type[BaseModel], given: Any) -> list[Problem]:
    """Everything that pydantic found wrong with plain values, one problem a place.

    Args:
        root: the class that refused them.
        given: the values, as they were written.
    """
    found = [_located(each, given) for each in error.errors(include_url=False)]
    alternatives: defaultdict[Place, defaultdict[str, list[_Refusal]]] = defaultdict(lambda: defaultdict(list))
    for refusal in found:
        if refusal.union is not None:
            alternatives[refusal.union][refusal.alternative].append(refusal)
    problems = [Problem(each.place, _sentence(each, root, given)) for each in found if each.union is None]
    for place, ways in alternatives.items():
        problems.extend(_of_union(place, list(ways.values()), root, given))
    # A key that was misspelled is one mistake, not an unknown key and a missing one.
    meant = {
        (*each.place[:-1], _meant(str(each.place[-1]), keys_at(root, given, each.place[:-1]), root))
        for each in found
        if each.type == "extra_forbidden"
    }
    absent = {each.place for each in found if each.type == "missing"}
    return [each for each in dict.fromkeys(problems) if each.place not in absent & meant]


def _of_union(place: Place, ways: list[list[_Refusal]], root: type[BaseModel], given: Any) -> list[Problem]:
    """What is wrong with the alternative that fits best; with all of them where none fits at all."""
    deepest = max(len(refusal.place) for way in ways for refusal in way)
    if len(ways) == 1 or deepest > len(place):
        meant = [way for way in ways if max(len(refusal.place) for refusal in way) == deepest]
        return [Problem(each.place, _sentence(each, root, given)) for way in meant for each in way]
    every = [refusal for way in ways for refusal in way]
    needed = [text for refusal in every if (text := _needed(refusal)) is not None]
    if len(needed) < len(every):
        return [Problem(place, " or: ".join(_sentence(each, root, given) for each in every))]
    return [Problem(place, f"{' or '.join(needed)} is needed, not {shown(every[0].given)}")]


def _located(error: Any, given: Any) -> _Refusal:
    """An error's place as it is written: without the names of alternatives and of what may be left out."""
    place: Place = ()
    union, alternative = None, ""
    loc = error["loc"]
    for number, element in enumerate(loc):
        here = part_at(given, place)
        written = (isinstance(here, dict) and element in here) or (isinstance(here, list) and isinstance(element, int))
        absent = error["type"] == "missing" and number == len(loc) - 1
        if written or absent:
            place = (*place, element)
        elif isinstance(element, str) and union is None:
            union, alternative = place, element
    return _Refusal(place, union, alternative, error["type"], error["input"], error.get("ctx", {}), error["msg"])


def _sentence(refusal: _Refusal, root: type[BaseModel], given: Any) -> str:
    needed = _needed(refusal)
    if refusal.type == "extra_forbidden":
        return _unknown_key(str(refusal.place[-1]), keys_at(root, given, refusal.place[:-1]), root)
    if refusal.type == "missing":
        return "the key is missing"
    if refusal.type == "literal_error":
        return f"{shown(refusal.given)} is not among the choices; {offer(str(refusal.given), _choices(refusal))}"
    if needed is not None:
        keys = keys_at(root, given, refusal.place) if refusal.type.startswith("model") else []
        return f"{needed} is needed, not {shown(refusal.given)}" + _keys(keys) + _punctuation(refusal)
    if refusal.type in BOUNDS:
        return f"{shown(refusal.given)} is out of range; {BOUNDS[refusal.type](refusal.context)}"
    if refusal.type in ("too_short", "string_too_short"):
        least = refusal.context["min_length"]
        return "it is empty" if least == 1 else f"at least {least} are needed"
    if refusal.type == "value_error":
        return str(refusal.context["error"]).rstrip(".")
    return refusal.message[:1].lower() + refusal.message[1:].rstrip(".")


def _unknown_key(key: str, known: list[str], root: type[BaseModel]) -> str:
    meant, home = _meant(key, known, root), sections(root).get(key)
    if meant is not None and meant == home:
        return f"the key is unknown here; it belongs under {home}:"
    if meant is not None:
        others = [name for name in known if name != meant]
        return f"the key is unknown; nearest: {meant}" + (f" (others: {', '.join(others)})" if others else "")
    options = [name for name in known if name != "kind"]
    return "the key is unknown; " + (offer(key, known) if options else "there are no options here")


def _meant(key: str, known: list[str], root: type[BaseModel]) -> str | None:
    """Which of the known keys an unknown one stands for: one spelled alike, else the section that it belongs to."""
    close = next(iter(nearest(key, known, count=1)), "")
    likeness = SequenceMatcher(None, key, close).ratio()
    home = sections(root).get(key) if known == list(root.model_fields) else None
    if likeness >= ALIKE or (home is None and likeness >= SIMILAR):
        return close
    return home


def _needed(refusal: _Refusal) -> str | None:
    if refusal.type == "literal_error":
        return ", ".join(_choices(refusal))
    return NEEDED.get(refusal.type)


def _choices(refusal: _Refusal) -> list[str]:
    expected = str(refusal.context["expected"])
    return re.findall(r"'([^']*)'", expected) or [expected]


def _keys(keys: list[str]) -> str:
    return f" (keys: {', '.join(keys)})" if keys else ""


def _punctuation(refusal: _Refusal) -> str:
    """What to do where only the punctuation is wrong."""
    if refusal.type == "list_type" and isinstance(refusal.given, dict):
        return "; a dash begins each item, as in - name: x"
    if refusal.type == "string_type" and isinstance(refusal.given, int | float):
        return f'; write "{str(refusal.given).lower() if isinstance(refusal.given, bool) else refusal.given}"'
    if isinstance(refusal.given, str) and refusal.type in ("int_type", "float_type"):
        try:
            float(refusal.given)
        except ValueError:
            return ""
        return f"; write {refusal.given} without quotes"
    return ""


def shown(given: Any) -> str:
    """A value in a message: short, and in the words of the file."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, dict):
        return "a mapping of keys"
    if isinstance(given, list | tuple):
        return f"a list of {len(given)}" if given else "an empty list"
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."
