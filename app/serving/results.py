"""What was computed lately, by small explicit keys and within a bound of memory."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench.errors import InputError

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
        """Keep a value; the ones used longest ago go.

        Raises:
            InputError: it alone is larger than all that may be kept.
        """
        size = size_of(value)
        if size > self._room:
            raise InputError(
                f"The result takes {size / 2**20:.0f} MB; the explorer keeps {self._room / 2**20:.0f} MB at most. "
                "Ask for less, or take the code of the panel to a notebook."
            )
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > self._room:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed

    def forget(self, key: Hashable) -> None:
        """Keep a value no longer: what it was made from has changed."""
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]

    @property
    def bytes(self) -> int:
        """Bytes that are kept."""
        return self._bytes


def size_of(value: Any) -> int:
    """Bytes of a value's arrays, tables and texts, as far as containers and attributes show them; each counted once."""
    seen: set[int] = set()
    pending, total = [value], 0
    while pending:
        part = pending.pop()
        if id(part) in seen:  # a figure's parts point back at it
            continue
        seen.add(id(part))
        if isinstance(part, torch.Tensor):
            total += part.numel() * part.element_size()
        elif isinstance(part, np.ndarray):
            total += part.nbytes
        elif isinstance(part, pd.DataFrame):
            total += int(part.memory_usage(deep=True).sum())
        elif isinstance(part, Mapping):
            pending.extend(part.values())
        elif isinstance(part, Sequence | Set) and not isinstance(part, str | bytes):
            pending.extend(part)
        else:
            total += sys.getsizeof(part)
            pending.extend(vars(part).values() if hasattr(part, "__dict__") and not isinstance(part, type) else ())
    return total
