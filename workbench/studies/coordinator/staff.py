"""The engine of a run, with workers from when the first chunk needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from workbench.studies.coordinator.bar import Bar
from workbench.studies.coordinator.preparing import Prepared
from workbench.studies.engines.protocol import Assignment, Engine, Outcome
from workbench.studies.planning.assigning import work_of
from workbench.studies.schema.study import Run

EngineMaker: TypeAlias = Callable[[Run], Engine]


class Staff:
    """Starts an engine late, so that a study with nothing left to run loads no model, and closes it in any case."""

    def __init__(self, prepared: Prepared, references: Path, make: EngineMaker, bar: Bar) -> None:
        self._prepared, self._references, self._make, self._bar = prepared, references, make, bar
        self._engine: Engine | None = None

    def __enter__(self) -> Staff:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.close()

    @property
    def capacity(self) -> int:
        """How many chunks the engine wants to hold."""
        return self._started().capacity

    def submit(self, assignment: Assignment) -> None:
        """Hand over a chunk."""
        self._started().submit(assignment)

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        """What has ended."""
        return self._started().outcomes(timeout_s)

    def _started(self) -> Engine:
        if self._engine is None:
            run = self._prepared.study.run
            self._bar.say(f"starting {run.workers} worker{'s' if run.workers > 1 else ''}")
            engine = self._make(run)
            # Known before it is started: what has come up by the time that starting fails is to be ended, too.
            self._engine = engine
            engine.start(work_of(self._prepared.study, self._prepared.surveys, self._references))
        return self._engine
