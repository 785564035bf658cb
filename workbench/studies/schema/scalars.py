"""What an unquoted word of YAML is, where everybody agrees; a sentence where versions of YAML do not.

PyYAML reads YAML 1.1, other tools read 1.2, and people read neither. A word that these take for different things is
refused with the way to write it, so that no study runs with a value that its author did not mean.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_OTHER_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_ZERO_FIRST = re.compile(r"[-+]?0o?[0-9_]+")
_OTHER_BASE = re.compile(r"[-+]?(0b[01][01_]*|0x[0-9a-fA-F][0-9a-fA-F_]*)")
_GROUPED = re.compile(r"[-+]?[0-9]+(_[0-9]+)+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")
_ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SWITCH = re.compile(r"(?i:yes|no|on|off)")
_LARGEST = 2**63 - 1
_TEXT = yaml.SafeLoader.DEFAULT_SCALAR_TAG
_RESOLVER: Any = yaml.resolver.Resolver()

Scalar = str | int | float | bool | None


class UnclearScalarError(ValueError):
    """A word that is one thing to some and another to others; the message says how to write either."""


def read_scalar(word: str) -> Scalar:
    """The value of an unquoted word.

    Raises:
        UnclearScalarError: versions of YAML differ about it, or it is a number that a study has no use for.
    """
    if word in ("", "~", "null", "Null", "NULL"):
        return None
    if word in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return word.lower() == "true"
    if _WHOLE.fullmatch(word):
        if len(word) > 20 or abs(int(word)) > _LARGEST:
            raise UnclearScalarError(f'{_short(word)} is too large for a whole number; for text write "{_short(word)}"')
        return int(word)
    if _NUMBER.fullmatch(word):
        return _finite(word)
    unclear = _unclear(word)
    if unclear:
        raise UnclearScalarError(unclear)
    return word


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise UnclearScalarError(f"{_short(word)} is beyond the largest number there is")
    return number


def _unclear(word: str) -> str | None:
    """What is wrong with a word that some reader of YAML takes for no text."""
    quoted = f'"{_short(word)}"'
    plain = _short(_decimal(word))
    if _SWITCH.fullmatch(word):
        truth = "true" if word.lower() in ("yes", "on") else "false"
        return f"{word} is {truth} to some YAML and text to other; write {truth}, or {quoted} for the text"
    if _ZERO_FIRST.fullmatch(word):
        return f"{_short(word)} begins with 0, which means base 8 to some YAML; write {plain}, or {quoted} for text"
    if _OTHER_NUMBER.fullmatch(word) or _OTHER_BASE.fullmatch(word) or _GROUPED.fullmatch(word):
        return f"{_short(word)} is a number to some YAML and text to other; write {plain}, or {quoted} for text"
    if _DATE.fullmatch(word):
        return f"{_short(word)} is a date to some YAML; for text write {quoted}"
    if _ENDLESS.fullmatch(word):
        return f"{word} is no number that a study can hold; for text write {quoted}"
    if word != "" and _tag(word) != _TEXT:
        return f"{_short(word)} is more than text to some YAML; for text write {quoted}"
    return None


def _decimal(word: str) -> str:
    """A number as every YAML reads it: ``1e-3`` as ``1.0e-3``, ``0x10`` as ``16``, ``010`` as ``10``."""
    bare = word.replace("_", "").lower()
    if _OTHER_BASE.fullmatch(word):
        return str(int(bare, 0))
    sign = bare[0] if bare[:1] in ("+", "-") else ""
    mantissa, e, power = bare.removeprefix(sign).partition("e")
    if not e and "." not in mantissa:
        return sign + (mantissa.replace("o", "").lstrip("0") or "0")
    whole, _, part = mantissa.partition(".")
    return f"{sign}{whole or '0'}.{part or '0'}" + (f"e{'' if power[:1] in ('+', '-') else '+'}{power}" if e else "")


def _short(word: str) -> str:
    return word if len(word) <= 40 else word[:37] + "..."


def _tag(word: str) -> str:
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, word, (True, False))
    return tag
