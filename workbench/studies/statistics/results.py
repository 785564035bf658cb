"""What of a study is judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from workbench.studies.schema.study import Study


@runtime_checkable
class Results(Protocol):
    """What `workbench.studies.store.read_results` returns, as far as statistics and reports read it."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row a unit and metric: see `workbench.studies.store.StudyResults`.

        A column ``corrupt``, where there is one, holds the metric of the unedited run on the prompt's corrupt version.
        """
        ...

    @property
    def study(self) -> Study:
        """The study as it was run."""
        ...

    @property
    def plan(self) -> Mapping[str, Any]:
        """What ``plan.json`` holds."""
        ...

    @property
    def attempts(self) -> pd.DataFrame:
        """One row a run of the coordinator: when, where, with what."""
        ...

    @property
    def coverage(self) -> Mapping[str, Any]:
        """Units planned, done and failed, and why."""
        ...

    @property
    def disagreements(self) -> pd.DataFrame:
        """Measurements that came twice with different values: unit, metric, kept, given."""
        ...

    @property
    def verified(self) -> pd.DataFrame:
        """Units that were computed a second time, plainly: unit, metric, stored, plain."""
        ...

    @property
    def folder(self) -> Path:
        """Where the study lies."""
        ...
