"""Chunks go out to the engine, outcomes come back and are committed; a chunk whose worker died goes out again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.studies.coordinator.attempts import Attempts
from workbench.studies.coordinator.staff import Staff
from workbench.studies.edits.edit import Edit
from workbench.studies.engines.protocol import Outcome
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning.assigning import assignment
from workbench.studies.planning.units import UnitNames
from workbench.studies.store.journal import Journal, UnitName
from workbench.studies.store.records import PlannedChunk

COMMIT_S = 0.1
"""Outcomes wait at most so long before they are on disk."""


@dataclass
class Tally:
    """What a run has done so far.

    Attributes:
        not_reused: why workers computed some edits plainly, in the order in which they found out.
    """

    chunks: int = 0
    units: int = 0
    macs: float = 0.0
    differing: int = 0
    not_reused: dict[str, None] = field(default_factory=dict)


class Dispatcher:
    """Runs chunks of one model at a time.

    Args:
        versions: of the metrics.
        retries: how often a chunk goes out again after its worker died.
        report: called after every commit with the multiplications that ended in it.
    """

    def __init__(
        self,
        journal: Journal,
        engine: Staff,
        attempts: Attempts,
        versions: Mapping[str, int],
        retries: int,
        report: Callable[[float], None],
    ) -> None:
        self._journal, self._engine, self._attempts = journal, engine, attempts
        self._versions, self._retries, self._report = versions, retries, report
        self.tally = Tally()

    def run(
        self,
        chunks: Sequence[PlannedChunk],
        edits: Mapping[str, Edit],
        prompts: Mapping[str, Prompt],
        names: UnitNames,
    ) -> None:
        """Run chunks of one model until each is done or has failed."""

        def name(edit: str, prompt: str) -> str:
            return names.unit_id(edits[edit], prompt)

        waiting = deque(chunks)
        out: dict[str, PlannedChunk] = {}
        while waiting or out:
            while waiting and len(out) < self._engine.capacity:
                chunk = waiting.popleft()
                out[chunk.chunk_id] = chunk
                self._engine.submit(assignment(chunk, edits, prompts))
            # A worker that was taken for dead may answer after all: its chunk is known no more.
            outcomes = [outcome for outcome in self._engine.outcomes(COMMIT_S) if outcome.chunk_id in out]
            if outcomes:
                waiting.extendleft(self._commit({outcome.chunk_id: outcome for outcome in outcomes}, out, name))

    def _commit(
        self, outcomes: Mapping[str, Outcome], out: dict[str, PlannedChunk], name: UnitName
    ) -> list[PlannedChunk]:
        """Store what came back, all in one transaction; the chunks to try again."""
        ended: list[tuple[PlannedChunk, Outcome, int]] = []
        lost: list[PlannedChunk] = []
        for chunk_id, outcome in outcomes.items():
            chunk = out.pop(chunk_id)
            if outcome.lost and self._journal.tries(chunk_id) < self._retries:
                lost.append(chunk)
                continue
            checked = _checked(chunk, outcome)
            if outcome.lost:
                times = self._journal.tries(chunk_id) + 1
                checked = replace(
                    checked, error=f"{times} workers died over it: {outcome.error or 'for no known reason'}"
                )
            ended.append((chunk, checked, self._attempts.of(outcome)))
        self.tally.differing += self._journal.commit(ended, lost, self._versions, name)
        for chunk, outcome, _ in ended:
            self.tally.chunks += 1
            self.tally.units += chunk.size if outcome.error is None else 0
            self.tally.macs += chunk.macs
            self.tally.not_reused.update(dict.fromkeys(outcome.not_reused))
        self._report(sum(chunk.macs for chunk, _, _ in ended))
        return lost


def _checked(chunk: PlannedChunk, outcome: Outcome) -> Outcome:
    """The outcome, failed where it does not hold exactly what was asked for: half a chunk is none."""
    if outcome.error is not None:
        return replace(outcome, measurements=())
    found = [(one.edit_id, one.prompt_id, one.metric) for one in outcome.measurements]
    asked = {(e, p, m) for e in chunk.edit_ids for p in chunk.prompt_ids for m in chunk.metrics}
    if len(found) == len(asked) and set(found) == asked:
        return outcome
    return replace(
        outcome,
        measurements=(),
        error=f"the worker returned {len(found)} measurements of {len(asked)} that were asked for",
    )
