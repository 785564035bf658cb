"""Kinds: what a study names by a word. A kind's class is both its options in the file and what it does.

``sites: heads`` and ``sites: {kind: heads, layers: [0, 1]}`` are both the class that is registered as ``heads``. Other
rooms and other packages add kinds of their own: a module that registers them is named in the entry-point group
``workbench.studies`` of its package, and is imported when a study is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer
from pydantic_core import PydanticCustomError

from workbench.errors import offer

AnyPath: TypeAlias = Annotated[Path, Field(strict=False)]
"""A path or its text: YAML has no paths, and neither has JSON."""


class Strict(BaseModel):
    """A part of a study file: no unknown keys, no silent conversions, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Kind(Strict):
    """Base of all kinds. `kind` is its word; the other fields are its options."""

    word: ClassVar[str] = ""

    @model_serializer(mode="wrap")
    def _with_word(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"kind": type(self).word, **dump(self)}

    def canonical(self) -> dict[str, Any]:
        """The kind and all its options, defaults included, as JSON: what identity is made of."""
        return self.model_dump(mode="json")


KindT = TypeVar("KindT", bound=Kind)


class Registry(Generic[KindT]):
    """Kinds by their word.

    Args:
        what: what they are kinds of, for messages: ``"site"``.
        of_list: the kind that a bare list means, and which of its options the list is.
    """

    def __init__(self, what: str, of_list: tuple[str, str] | None = None) -> None:
        self.what = what
        self.of_list = of_list
        self._kinds: dict[str, type[KindT]] = {}

    def register(self, word: str) -> Callable[[type[KindT]], type[KindT]]:
        """Class decorator. Raises ValueError where the word is taken by another class."""

        def add(kind: type[KindT]) -> type[KindT]:
            if word in self._kinds and self._kinds[word].__qualname__ != kind.__qualname__:
                raise ValueError(f"There is a {self.what} called {word!r} already.")
            kind.word = word
            self._kinds[word] = kind
            return kind

        return add

    @property
    def words(self) -> list[str]:
        """Every word, those of other packages included."""
        _load_extensions()
        return sorted(self._kinds)

    def find(self, word: str) -> type[KindT] | None:
        """The kind of a word, or None."""
        _load_extensions()
        return self._kinds.get(word)

    def parse(self, given: Any) -> KindT:
        """A kind from its word, from a mapping with ``kind``, or itself (pydantic reports what is wrong, and where)."""
        if isinstance(given, Kind):
            return given  # type: ignore[return-value]  # the field's own type is checked by pydantic
        _load_extensions()
        if isinstance(given, list) and self.of_list is not None:
            word, option = self.of_list
            given = {"kind": word, option: given}
        options = {"kind": given} if isinstance(given, str) else given
        if not isinstance(options, Mapping) or not isinstance(options.get("kind"), str):
            raise PydanticCustomError(
                "kind",
                "a {what} is needed: its word, or a mapping with kind: and its options; {offer}",
                self._context(""),
            )
        word = options["kind"]
        if word not in self._kinds:
            raise PydanticCustomError(
                "kind", "no {what} is called '{word}'; {offer}", {"word": word, **self._context(word)}
            )
        return self._kinds[word].model_validate({str(k): v for k, v in options.items() if k != "kind"})

    def field(self) -> BeforeValidator:
        """What annotates a field of a study that holds one of these kinds."""
        return BeforeValidator(self.parse)

    def _context(self, word: str) -> dict[str, Any]:
        return {"what": self.what, "offer": offer(word, self._kinds)}


@cache
def _load_extensions() -> None:
    """Import what other rooms and packages register."""
    for point in entry_points(group="workbench.studies"):
        point.load()
