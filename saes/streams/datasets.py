"""Hugging Face datasets as documents."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError
from workbench.saes.streams.documents import Cursor, Documents, Iterated, Listed, Passage, Sample
from workbench.saes.streams.order import Order

TEXT, IDS, MASK = "text", "input_ids", "attention_mask"


class DatasetTexts(Documents):
    """The rows of a Hugging Face dataset, each a document: texts, or token ids.

    A dataset on disk is read in shuffled order without being loaded; a streamed one comes in its own order.

    Args:
        dataset: a dataset, or the name of one for the `datasets` library to load, streamed, or the folder where
            ``save_to_disk`` left one.
        column: which column; None for ``text`` or ``input_ids`` or the only one. Where token ids come with an
            ``attention_mask``, what it hides is left out.
        split: of a dataset with several.
        config: which of the configurations that a name has.

    Raises:
        InputError: no dataset of that name can be had here; no such column or split.
    """

    def __init__(
        self, dataset: Any, column: str | None = None, split: str = "train", config: str | None = None
    ) -> None:
        found = _loaded(dataset, config, split) if isinstance(dataset, str) else dataset
        if isinstance(found, dict):  # datasets' own classes of several splits are dictionaries
            if split not in found:
                raise InputError(f"The dataset has no split {split!r}; it has {', '.join(map(str, found))}.")
            found = found[split]
        self.column = _column(found, column)
        about = {
            "kind": "dataset",
            "name": dataset if isinstance(dataset, str) else str(getattr(found, "builder_name", None)),
            "split": split,
            "column": self.column,
        }
        if hasattr(found, "__len__"):
            about["fingerprint"] = str(getattr(found, "_fingerprint", None))
            self._documents: Documents = Listed(len(found), lambda number: self._content(found[number]), about)
        else:

            def begin(skip: int) -> Iterator[Any]:
                return map(self._content, iter(found.skip(skip) if skip else found))

            self._documents = Iterated(begin, about)

    def passages(self, order: Order, cursor: Cursor | None = None) -> Iterator[Passage]:
        return self._documents.passages(order, cursor)

    def about(self) -> dict[str, Any]:
        return self._documents.about()

    def name(self, document: int) -> str:
        return f"row {document}"

    def sample(self) -> Sample | None:
        return self._documents.sample()

    def _content(self, row: dict[str, Any]) -> Any:
        content = row[self.column]
        if isinstance(content, str) or row.get(MASK) is None:
            return content
        return np.asarray(content)[np.asarray(row[MASK], dtype=bool)]


def is_dataset(content: object) -> bool:
    """Whether something is a dataset, or several splits of one, without importing the library to ask."""
    return type(content).__module__.partition(".")[0] == "datasets"


def _column(dataset: Any, column: str | None) -> str:
    names = getattr(dataset, "column_names", None)
    if names is None:  # a streamed dataset may not know before its first row is read
        names = list(next(iter(dataset), {}))
    if column is not None and column in names:
        return column
    usual = [name for name in (TEXT, IDS) if name in names] or (list(names) if len(names) == 1 else [])
    if column is not None or not usual:
        wanted = "text" if column is None else repr(column)
        raise InputError(f"The dataset has no column {wanted}; it has {', '.join(names) or 'none'}: name one of them.")
    return str(usual[0])


def _loaded(name: str, config: str | None, split: str) -> Any:
    library: Any = import_module("datasets")  # takes a second, and has no types
    try:
        if any((Path(name) / file).is_file() for file in ("state.json", "dataset_dict.json")):
            return library.load_from_disk(name)
        return library.load_dataset(name, config, split=split, streaming=True)
    except Exception as error:  # whatever the network, the hub or a loading script came to
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"The dataset {name} cannot be loaded here: {first}; give files of text, or a dataset that is loaded "
            "already."
        ) from error
