"""What a coordinator hands to an engine, and what comes back. Engines compute; only the coordinator writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from workbench.studies.edits.edit import Edit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.schema.study import Study


@dataclass(frozen=True)
class Work:
    """What every worker has to know before its first chunk.

    Attributes:
        study: the study as it was planned.
        prompts: every prompt, by the name of the model that reads it (tokenizers differ).
        digests: of each model's weights, by its name; a worker refuses another model.
        references: a folder where workers may keep what they computed of unedited runs; None for memory only.
        threads: of torch, in each worker: fixed, because sums depend on it.
    """

    study: Study
    prompts: Mapping[str, Sequence[Prompt]]
    digests: Mapping[str, str]
    references: Path | None
    threads: int


@dataclass(frozen=True)
class Assignment:
    """A chunk: every edit with every prompt of it, run as one batch. Its composition is the plan's, never the engine's.

    Attributes:
        chunk_id: digest of what it holds.
        model: the model's name in the study.
        edits: all of one lowest layer, or the baseline alone.
        prompts: all of one length.
        metrics: names of the metrics that are still wanted.
    """

    chunk_id: str
    model: str
    edits: tuple[Edit, ...]
    prompts: tuple[Prompt, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """One number of one unit."""

    edit_id: str
    prompt_id: str
    metric: str
    value: float
    n_scored: int


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk.

    Attributes:
        measurements: one for each edit, prompt and metric, in that order; empty where it failed.
        error: a sentence where it failed (NaN is a failure), else None.
        lost: whether the worker died, so that it is worth another try elsewhere.
        seconds: wall time.
        worker: host, process, device and threads, for the record of attempts.
        not_reused: why the worker computes some edits plainly, as far as it has found out.
        not_finite: a sentence for every number that is NaN or infinite.
    """

    chunk_id: str
    measurements: tuple[Measurement, ...] = ()
    error: str | None = None
    lost: bool = False
    seconds: float = 0.0
    worker: dict[str, Any] = field(default_factory=dict, hash=False)
    not_reused: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """Runs chunks. `start` before, `close` after; `close` also ends what still runs."""

    @property
    def capacity(self) -> int:
        """How many chunks it wants to hold at once, running ones included."""

    def start(self, work: Work) -> None:
        """Bring up workers. Raises InputError or LoadError in a sentence where they cannot start."""

    def submit(self, assignment: Assignment) -> None:
        """Take a chunk; the same worker gets chunks of the same prompts where it can."""

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        """Every chunk that has ended since the last call; waits for the first one up to the timeout."""

    def close(self) -> None:
        """End all workers."""
