"""Reading the config.json of a published checkpoint: defaults, types, and variants that no native model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.errors import LoadError, UnsupportedFamilyError


class Configuration:
    """The values of a config.json over the defaults of its family.

    Attributes:
        model_type: the family's name in the configuration.
    """

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.model_type = str(values.get("model_type"))
        self._values = {**defaults, **values}

    def __getitem__(self, key: str) -> Any:
        return self._values.get(key)

    def only(self, key: str, *allowed: Any) -> None:
        """Raise UnsupportedFamilyError, which names the key, unless its value is one of those allowed."""
        if self[key] not in allowed:
            known = " or ".join(repr(value) for value in allowed)
            raise UnsupportedFamilyError(
                f"The configuration's {key} is {self[key]!r}, which the native {self.model_type} does not have; "
                f"it can be {known}."
            )

    def count(self, key: str) -> int:
        """A positive whole number. Raises LoadError for anything else."""
        value = self[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise LoadError(f"The configuration's {key} is {value!r}; a positive whole number is needed.")
        return value

    def number(self, key: str) -> float:
        """A positive number. Raises LoadError for anything else."""
        value = self[key]
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise LoadError(f"The configuration's {key} is {value!r}; a positive number is needed.")
        return value

    def switch(self, key: str) -> bool:
        """True or false. Raises LoadError for anything else."""
        value = self[key]
        if not isinstance(value, bool):
            raise LoadError(f"The configuration's {key} is {value!r}; true or false is needed.")
        return value
