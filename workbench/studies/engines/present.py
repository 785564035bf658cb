"""The engine without processes: chunks run where they are submitted, on a model that is loaded already."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import torch

from workbench.model import HookedModel
from workbench.studies.engines.protocol import Assignment, Outcome, Work
from workbench.studies.engines.worker import Worker


class PresentEngine:
    """Runs chunks in this process, one after the other, on a model that is loaded already."""

    def __init__(self, model: HookedModel) -> None:
        self._model = model
        self._worker: Worker | None = None
        self._waiting: deque[Assignment] = deque()

    @property
    def capacity(self) -> int:
        """One: whoever stops the run between two chunks loses neither."""
        return 1

    def start(self, work: Work) -> None:
        """Make ready. Threads stay as they are here: they are not this study's alone."""
        self._worker = _PresentWorker(replace(work, threads=torch.get_num_threads()), self._model)

    def submit(self, assignment: Assignment) -> None:
        self._waiting.append(assignment)

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        assert self._worker is not None  # `start` comes first
        while self._waiting:
            yield self._worker.run(self._waiting.popleft())

    def close(self) -> None:
        self._worker = None
        self._waiting.clear()


class _PresentWorker(Worker):
    """A worker that is given its model."""

    def __init__(self, work: Work, model: HookedModel) -> None:
        self._given = model
        super().__init__(work)

    def _load(self, label: str) -> HookedModel:
        return self._given
