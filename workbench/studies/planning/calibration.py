"""One chunk, run to see how long all of them will take."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.errors import WorkbenchError
from workbench.studies.engines.protocol import Work
from workbench.studies.planning.assigning import assignment, work_of
from workbench.studies.planning.listing import Listing
from workbench.studies.planning.survey import Survey
from workbench.studies.schema.study import Study


@dataclass(frozen=True)
class Calibration:
    """What one chunk of a model took here, with one worker.

    Attributes:
        loading: seconds to load the model.
        per_mac: seconds a multiplication.
        memory: bytes that the process has held at most.
        error: why the chunk failed, if it did; the numbers are 0 then.
    """

    loading: float = 0.0
    per_mac: float = 0.0
    memory: int = 0
    error: str | None = None


def calibrate(study: Study, surveys: Mapping[str, Survey], listings: Sequence[Listing]) -> dict[str, Calibration]:
    """Run one chunk of each model in this process, after one that makes it warm; nothing is stored."""
    from workbench.studies.engines.worker import Worker

    work = work_of(study, surveys, references=None)
    return {listing.model: _calibrate(Worker(work), work, listing) for listing in listings if listing.chunks}


def _calibrate(worker: object, work: Work, listing: Listing) -> Calibration:
    from workbench.studies.engines.worker import Worker

    assert isinstance(worker, Worker)
    edits = {edit.edit_id: edit for edit in listing.edits}
    prompts = {prompt.prompt_id: prompt for prompt in work.prompts[listing.model]}
    edited = [chunk for chunk in listing.chunks if not edits[chunk.edit_ids[0]].unedited]
    chosen = sorted(edited or listing.chunks, key=lambda chunk: chunk.macs)[len(edited or listing.chunks) // 2]
    assigned = assignment(chosen, edits, prompts)
    began = time.perf_counter()
    try:
        first = worker.run(assigned)
        middle = time.perf_counter()
        second = worker.run(assigned)
        ended = time.perf_counter()
    except WorkbenchError as error:
        return Calibration(error=str(error))
    if first.error is not None or second.error is not None:
        return Calibration(error=first.error or second.error)
    took = ended - middle
    return Calibration(max(0.0, middle - began - took), took / max(chosen.macs, 1.0), peak_memory())


def peak_memory() -> int:
    """Bytes of memory that this process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
