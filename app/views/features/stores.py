"""Feature stores of the workspace: which there are, and one that is open, with what was read of it lately."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from workbench.app.serving import Workspace
from workbench.app.views.features.words import peak_words
from workbench.errors import InputError
from workbench.saes.features import FeatureQuery, FeatureStore
from workbench.saes.features.batch import FeatureBatch
from workbench.saes.features.ledger import FILE
from workbench.saes.features.listing import feature_rows, telling_feature
from workbench.saes.shipped import MEMBERS

if TYPE_CHECKING:
    import pandas as pd

DEPTH, MOST = 5, 4000
"""Folders below each other, and folders in all, that are looked through for stores."""

_SKIPPED = {"node_modules", "__pycache__", "site-packages", "build", "dist"}

TOGETHER = 16
"""Features whose tables are read at once: the one that is shown and those after it in the list."""

KEPT = 8
"""Readings of so many features, pages of the list, and lists, that an open store keeps."""


@dataclass(frozen=True)
class Found:
    """A store of the workspace.

    Attributes:
        name: its path within the workspace.
        model, site: whose features they are, and where they were read.
        features, tokens: how many there are, and on how many tokens they were read so far.
        finished: whether the pass is done.
    """

    name: str
    folder: Path
    model: str
    site: str
    features: int
    tokens: int
    finished: bool

    def is_of(self, source: str) -> bool:
        """Whether its model's name is that of a source (a file's or a hub id's last part is enough)."""
        return self.model == source or self.model.rsplit("/", 1)[-1] == source.rstrip("/").rsplit("/", 1)[-1]


def find_stores(workspace: Workspace) -> list[Found]:
    """The feature stores of a workspace by name; hidden folders, links and environments are not looked into."""
    found = []
    for folder in folders(workspace.root):
        if (folder / FILE).is_file():
            try:
                info = FeatureStore(folder).info
            except InputError:
                continue  # a store of another format, or a pass that has only just begun
            name = folder.relative_to(workspace.root).as_posix()
            found.append(Found(name, folder, info.model, info.site, info.d_sae, info.tokens, info.finished))
    return sorted(found, key=lambda one: one.name)


def folders(root: Path) -> list[Path]:
    """The folders of a workspace that are looked through, itself among them, the nearest first."""
    found: list[Path] = []
    queue = [(root, 0)]
    while queue and len(found) < MOST:
        folder, depth = queue.pop(0)
        found.append(folder)
        if depth == DEPTH or (depth and (folder / FILE).is_file()) or (folder / "pyvenv.cfg").is_file():
            continue
        try:
            inside = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue  # not ours to read
        queue += [
            (Path(entry.path), depth + 1)
            for entry in inside
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and entry.name not in _SKIPPED
        ]
    return found


class OpenStore:
    """A store and what was read of it lately; threads may share it.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FeatureStore(folder)
        self._lock = threading.RLock()
        self._batches: OrderedDict[tuple[int, ...], FeatureBatch] = OrderedDict()
        self._words: dict[int, list[str]] = {}
        self._rows: OrderedDict[tuple[tuple[int, ...], Any], pd.DataFrame] = OrderedDict()
        self._lists: OrderedDict[tuple[FeatureQuery, Any], Int[np.ndarray, " found"]] = OrderedDict()

    @cached_property
    def info(self) -> Any:
        """`FeatureStore.info`, which changes no more once a pass is done."""
        return self.store.info

    def features(self, query: FeatureQuery) -> Int[np.ndarray, " found"]:
        """`FeatureStore.find`, asked again when a label has changed."""
        key = query, _stamp(self.store.labels.file)
        with self._lock:
            if key not in self._lists:
                self._lists[key] = self.store.find(query)
                while len(self._lists) > KEPT:
                    self._lists.popitem(last=False)
            self._lists.move_to_end(key)
            return self._lists[key]

    def rows(self, features: Sequence[int]) -> pd.DataFrame:
        """`feature_rows`, read again when a label has changed; do not change it."""
        key = tuple(features), _stamp(self.store.labels.file)
        with self._lock:
            if key not in self._rows:
                self._rows[key] = feature_rows(self.store, key[0])
                while len(self._rows) > KEPT:
                    self._rows.popitem(last=False)
            self._rows.move_to_end(key)
            return self._rows[key]

    def names(self, features: Sequence[int]) -> dict[int, str]:
        """What a list calls features: their labels, or else the words in which they are highest."""
        labels = self.rows(features).set_index("feature")["label"]
        with self._lock:
            new = [one for one in features if one not in self._words]
            if new:
                self._words |= {one: [] for one in new} | peak_words(self.store, new)
            return {one: labels[one] or " · ".join(self._words[one]) or "dead" for one in features}

    @cached_property
    def largest(self) -> Float[np.ndarray, " features"]:
        """The largest activation of every feature in the store's text."""
        found = self.store.run("select max from features order by feature", []).fetchnumpy()["max"]
        return np.asarray(found)

    def tables(self, feature: int, near: Sequence[int] = ()) -> FeatureBatch:
        """A feature's tables.

        Args:
            near: the features that are likely to be asked for next, which are read along: the time goes into asking,
                not into reading.
        """
        with self._lock:
            for key, batch in reversed(self._batches.items()):
                if feature in key:
                    self._batches.move_to_end(key)
                    return batch
            key = tuple(dict.fromkeys([feature, *(int(one) for one in near)]))[:TOGETHER]
            batch = self._batches[key] = self.store.batch(key)
            while len(self._batches) > KEPT:
                self._batches.popitem(last=False)
            return batch

    def row(self, feature: int) -> dict[str, Any]:
        """A feature's line of `FeatureStore.features`, without its label."""
        statement = "select * exclude (sum, sum_squares) from features where feature = ?"
        found = self.store.run(statement, [self.store.checked(feature)]).df().iloc[0]
        return {str(name): value for name, value in found.items()}

    def relabelled(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of features with their labels as they are now."""
        return self.store.labelled(table.drop(columns="label"), ("label",), at=1)

    @cached_property
    def telling(self) -> int:
        """`telling_feature` of the store: the one that is shown first."""
        return telling_feature(self.store)

    @cached_property
    def sae_source(self) -> str | None:
        """The name of the autoencoder if it is one that comes with the workbench, as `load_sae` takes it."""
        from workbench.errors import LoadError
        from workbench.saes.features.options import sae_fingerprint
        from workbench.saes.files import load_sae

        for name, member in MEMBERS.items():
            if self.info.model == f"zoo:{member.model}" and self.info.hook == member.hook:
                try:
                    return name if sae_fingerprint(load_sae(name)) == sae_fingerprint(self.store.sae) else None
                except LoadError:
                    return None
        return None


@lru_cache(maxsize=KEPT)
def _open(folder: Path, stamp: Any) -> OpenStore:
    return OpenStore(folder)


def open_store(folder: Path) -> OpenStore:
    """The store of a folder, opened once. Raises InputError where it is none."""
    return _open(folder, _stamp(folder / FILE))


def _stamp(file: Path) -> tuple[int, ...]:
    """What changes when a SQLite file is written to, whether or not it has been folded in yet."""
    files = (file, file.with_name(f"{file.name}-wal"))
    return tuple(one.stat().st_mtime_ns if one.exists() else 0 for one in files)
