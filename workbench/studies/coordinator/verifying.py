"""Computing random units a second time, one at a time and with nothing reused, and holding them against the first."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.studies.coordinator.bar import Bar
from workbench.studies.coordinator.summary import Verification
from workbench.studies.edits.edit import Edit
from workbench.studies.engines.protocol import Assignment, Engine, Outcome
from workbench.studies.identity import digest
from workbench.studies.planning.assigning import work_of
from workbench.studies.store.journal import Journal

if TYPE_CHECKING:
    from workbench.studies.coordinator.preparing import Prepared
    from workbench.studies.coordinator.staff import EngineMaker


def verify(journal: Journal, prepared: Prepared, run_id: int, make: EngineMaker, bar: Bar) -> Verification:
    """Compute `run.verify` units again, drawn by the study's seed from those that are done, and compare.

    Raises:
        InputError: a unit that was measured before cannot be measured plainly.
    """
    study = prepared.study
    drawn = random.Random(study.seed).sample(population := journal.done_units(), min(study.run.verify, len(population)))
    if not drawn:
        return Verification(0, 0.0, "")
    metrics = tuple(metric.name for metric in study.metrics)
    edits = {(label, edit.edit_id): edit for label in prepared.surveys for edit in journal.edits(label)}
    prompts = {(label, p.prompt_id): p for label, survey in prepared.surveys.items() for p in survey.prompts}
    asked: dict[str, tuple[str, Edit]] = {}
    bar.begin("verifying", float(len(drawn)))
    plain = study.model_copy(update={"run": study.run.model_copy(update={"reuse": False, "workers": 1})})
    engine = make(plain.run)
    rows: list[tuple[str, str, float, float]] = []
    try:
        engine.start(replace(work_of(plain, prepared.surveys, None)))
        waiting: list[Assignment] = []
        # By model, because a worker holds one at a time.
        for unit, model, edit, prompt in sorted(drawn, key=lambda one: list(prepared.surveys).index(one[1])):
            name = digest(["verified", unit])
            asked[name] = (unit, edits[model, edit])
            waiting.append(Assignment(name, model, (edits[model, edit],), (prompts[model, prompt],), metrics))
        for outcome in _ended(engine, waiting):
            unit, edited = asked[outcome.chunk_id]
            if outcome.error is not None:
                raise InputError(f"{edited.label} could not be verified: {outcome.error}")
            stored = journal.stored(unit)
            rows += [(unit, one.metric, stored[one.metric], one.value) for one in outcome.measurements]
            bar.advance(1.0)
    finally:
        engine.close()
    journal.add_verified(run_id, rows)
    unit, metric, stored_value, value = max(rows, key=lambda row: difference(row[2], row[3]))
    label = asked[digest(["verified", unit])][1].label
    return Verification(len(drawn), difference(stored_value, value), f"{metric} of {label}")


def difference(one: float, other: float) -> float:
    """How far two numbers are apart: not at all where both are NaN or the same infinity, infinitely where one is."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    apart = abs(one - other)
    return math.inf if math.isnan(apart) else apart


def _ended(engine: Engine, waiting: list[Assignment]) -> Iterator[Outcome]:
    """Outcomes of all assignments, in whatever order they end."""
    left = list(reversed(waiting))
    out = 0
    while left or out:
        while left and out < engine.capacity:
            engine.submit(left.pop())
            out += 1
        for outcome in engine.outcomes(1.0):
            out -= 1
            yield outcome
