"""Settings in which two studies differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from workbench.studies.schema.study import Study

_CALLED_BY = ("id", "name", "kind")


def differing_settings(a: Study, b: Study) -> pd.DataFrame:
    """One row a ``setting`` (its dotted path in the file) that differs, as JSON in ``a`` and in ``b``.

    Entries of lists are matched by their name, id or kind rather than by their place, so that an entry in front shifts
    nothing. What stands under ``run`` changes no result and is left out, as are name and question. Empty text where a
    study has no such setting.
    """
    left, right = (
        dict(_flat("", study.model_dump(mode="json", exclude={"run", "name", "question"}))) for study in (a, b)
    )
    rows = [
        {"setting": path, "a": left.get(path, ""), "b": right.get(path, "")}
        for path in dict.fromkeys([*left, *right])
        if left.get(path) != right.get(path)
    ]
    return pd.DataFrame(rows, columns=["setting", "a", "b"])


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), part)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            called = next((str(part[key]) for key in _CALLED_BY if part.get(key)), str(number))
            yield from _flat(f"{path}[{called}]", part)
    else:
        yield path, json.dumps(value, ensure_ascii=False)
