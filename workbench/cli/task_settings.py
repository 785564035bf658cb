"""``--set KEY=VALUE``: words on a command line as the values that a task's options take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.errors import InputError, offer
from workbench.tasks.registry import describe_task

_SEVERAL = ("tuple", "Sequence", "Iterable", "list")


def read_settings(name: str, settings: Sequence[str]) -> dict[str, Any]:
    """Options of a task from ``KEY=VALUE`` words, each in the type that its option is declared with.

    Several values are parted by commas; ``none`` is None where the option allows it; ``@FILE`` is the text in a file.

    Raises:
        InputError: no such task or option, a word without ``=``, a value that is not of the option's type, a file that
            cannot be read, or an option given twice.
    """
    known = {option.name: option for option in describe_task(name).options}
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: write KEY=VALUE, such as batch=16.")
        if key not in known:
            raise InputError(f"Task {name!r} has no option {key!r}; {offer(key, known)}.")
        if key in found:
            raise InputError(f"--set gives {key} twice.")
        found[key] = _value(key, known[key].kind, value)
    return found


def _value(key: str, kind: str, value: str) -> Any:
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--set {key}: the file {value[1:]} cannot be read as text: {error}.") from error
    words = re.findall(r"\w+", kind)
    several = kind.startswith(_SEVERAL) or any(f"| {each}" in kind for each in _SEVERAL)
    if "None" in words and value.lower() == "none":
        return None
    # A text that may also be a list of texts stays one: such options take names parted by commas themselves.
    if several and not kind.startswith("str"):
        return tuple(_single(key, kind, words, part.strip()) for part in value.split(",") if part.strip())
    return _single(key, kind, words, value)


def _single(key: str, kind: str, words: list[str], value: str) -> Any:
    if "bool" in words and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for word, read in (("int", int), ("float", float)):
        if word in words:
            try:
                return read(value)
            except ValueError:
                continue
    if "str" in words or "Any" in words:
        return value
    raise InputError(f"--set {key}={value}: {key} is {kind}.")
