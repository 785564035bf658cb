"""Texts that commands are given: a file, a folder of files, prompts one a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.texts import named_texts, read_utf8

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from torch import Tensor


def read_texts(place: Path) -> list[str]:
    """Text of a file, or of every ``*.txt`` in a folder and its folders, in order of name; blank ones are left out.

    Raises:
        InputError: nothing is there, it cannot be read or is no UTF-8 text, or all of it is blank.
    """
    return list(named_texts(place).values())


def read_text(place: Path) -> str:
    """The one text of a file or folder. Raises InputError as `read_texts` does, and where there are several."""
    found = read_texts(place)
    if len(found) > 1:
        raise InputError(f"One text is read here, and {place} holds {len(found)}; name one file.")
    return found[0]


def given_text(prompt: str | None, place: Path | None) -> str:
    """The text that a user typed, or that of a file. Raises InputError where there is neither, or both."""
    if (prompt is None) == (place is None):
        raise InputError("Give a text as PROMPT, or a file with --text, and not both.")
    if place is not None:
        return read_text(place)
    assert prompt is not None
    return prompt


def given_prompts(option: str, spelled: list[str]) -> list[str]:
    """Prompts that a user typed; ``@FILE`` stands for the lines of a file, blank ones left out.

    Raises:
        InputError: a file that cannot be read or holds no line.
    """
    found: list[str] = []
    for one in spelled:
        lines = (
            [line for line in read_utf8(Path(one[1:])).splitlines() if line.strip()] if one.startswith("@") else [one]
        )
        if not lines or not lines[0].strip():
            raise InputError(f"{option} {one!r} holds no prompt.")
        found += lines
    return found


def spread(rows: Shaped[Tensor, "rows _"], most: int) -> Shaped[Tensor, "chosen _"]:
    """At most so many rows, evenly spread from the first to the last."""
    from workbench.windows import spread_over

    return rows[spread_over(len(rows), most)]
