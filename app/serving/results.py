"""What was computed lately, by small explicit keys and within a bound of memory."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

ROOM = 256 * 2**20
"""Bytes that results may take together."""


class Results:
    """A cache whose keys name what was asked (model, prompt, layer, ...) and never hold arrays.

    Hashing large arrays is slow, or sampled and wrong; a key says how to make the value instead.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> tuple[bool, Any]:
        """Whether it is there, and what it is."""
        with self._lock:
            if key not in self._kept:
                return False, None
            self._kept.move_to_end(key)
            return True, self._kept[key][0]

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value; the ones used longest ago go, and one larger than the whole room is not kept."""
        size = size_of(value)
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]
            if size > self._room:
                return
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > self._room:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed

    @property
    def bytes(self) -> int:
        """Bytes that are kept."""
        return self._bytes


def size_of(value: Any) -> int:
    """Bytes of a value's arrays, tables and texts, as far as containers and dataclasses show them."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(deep=True).sum())
    if isinstance(value, str | bytes):
        return sys.getsizeof(value)
    if isinstance(value, Mapping):
        return sum(size_of(part) for part in value.values())
    if isinstance(value, Sequence):
        return sum(size_of(part) for part in value)
    if hasattr(value, "__dict__"):
        return sum(size_of(part) for part in vars(value).values())
    return sys.getsizeof(value)
