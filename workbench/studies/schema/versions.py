"""Study files of earlier versions, brought to the present one before they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.errors import InputError

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: Mapping[int, Migration] = {}
"""By version n: what makes of a file's plain values those of version n + 1, `version` itself aside."""


def migrated(
    given: dict[str, Any], current: int, migrations: Mapping[int, Migration] = MIGRATIONS
) -> tuple[dict[str, Any], int]:
    """A study file's values in the present version, and the version that they came in.

    A file without a version is of the present one; a version that is no number is left for validation to refuse.

    Raises:
        InputError: it is of a later version, or of one that nothing leads on from.
    """
    came = given.get("version", current)
    if not isinstance(came, int) or isinstance(came, bool) or came == current:
        return given, current
    if came > current:
        raise InputError(
            f"the file is of version {came}, and this workbench reads version {current}; a later workbench reads it "
            "(pip install --upgrade workbench)"
        )
    for version in range(came, current):
        if version not in migrations:
            known = sorted({current, *migrations})
            raise InputError(
                f"there is no way from version {version} to {current}; known: {', '.join(map(str, known))}"
            )
        given = {**migrations[version](given), "version": version + 1}
    return given, came
