"""Arguments that belong together share an entry in docstrings, ``first, second: texts``; the site lists each."""

from __future__ import annotations

import re
from typing import Any

import griffe

SHARED = re.compile(r"^(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)+): ", re.MULTILINE)
SECTION = re.compile(r"^(Args|Attributes):\n(?:(?: +.*)?\n?)*", re.MULTILINE)


class SharedEntries(griffe.Extension):
    """Writes an entry of several names as one entry a name, the text with the first and a reference with the others."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute once it is read."""
        if obj.docstring is not None:
            obj.docstring.value = SECTION.sub(lambda section: SHARED.sub(_listed, section[0]), obj.docstring.value)


def _listed(found: re.Match[str]) -> str:
    first, *others = found["names"].split(", ")
    said = "".join(f"{found['indent']}{name}: see `{first.lstrip('*')}`.\n" for name in others)
    return f"{said}{found['indent']}{first}: "
