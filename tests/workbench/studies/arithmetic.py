"""A study whose models are sums: what a run must come to is known without a run."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import workbench.studies.edits
import workbench.studies.inputs
import workbench.studies.metrics
import workbench.studies.searches  # noqa: F401  (kinds are registered by importing)
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.site import Target
from workbench.studies.engines.protocol import Assignment, Measurement, Outcome, Work
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning.costs import Costs
from workbench.studies.planning.survey import Survey
from workbench.studies.schema.study import ModelEntry, Run, Study

LAYERS, HEADS = 3, 4


def study(**changed: Any) -> Study:
    """Every head of one model on six prompts, unless something is changed."""
    given = {
        "name": "sums",
        "models": ["zoo:attention"],
        "inputs": {"task": "repetition", "count": 6},
        "edits": [{"name": "heads", "sites": "heads", "method": "zero"}],
        "metrics": ["loss"],
        "run": {"batch_tokens": 64},
    }
    return Study.model_validate({**given, **changed})


def surveyor(
    layers: int = LAYERS, heads: int = HEADS, weights: str = "as they are", tokens: Callable[[int], int] = lambda i: 8
) -> Callable[[Study, ModelEntry, Path], Survey]:
    """A model of so many layers and heads that nobody loads; prompt i is ``tokens(i)`` long."""

    def survey(study: Study, entry: ModelEntry, base: Path) -> Survey:
        targets = tuple(
            Target(label=f"L{layer}H{head}", at=f"blocks.{layer}.mixer.hook_z", layer=layer, heads=(head,))
            for layer in range(layers)
            for head in range(heads)
        )
        split = study.inputs.split
        prompts = tuple(
            Prompt(
                tokens=(number, *range(1, tokens(number))),
                scored=(tokens(number) - 2,),
                answers=(0,),
                group=f"group {number}",
                split="all" if split is None else ("discover" if number % 2 else "confirm"),
            )
            for number in range(study.inputs.count)
        )
        return Survey(
            digest=hashlib.blake2b(f"{entry.id} {weights}".encode(), digest_size=16).hexdigest(),
            dtype="float32",
            prompts=prompts,
            targets={edits.name: targets for edits in study.edits},
            pools={edits.name: targets for edits in study.edits if edits.controls is not None},
            scores={},
            costs=Costs(layers=(100.0,) * layers, sources=(0.0,) * layers, unembedding=50.0),
        )

    return survey


def weight(label: str) -> float:
    """What editing a target adds to every metric: between 0 and 1, no two alike."""
    return int(hashlib.blake2b(label.encode(), digest_size=4).hexdigest(), 16) / 2**32


def value(edit: Edit, prompt: Prompt, metric: str) -> float:
    """Of a metric of an edit on a prompt: sums that float64 holds, so that the order of adding tells."""
    return len(metric) + prompt.tokens[0] / 16 + sum(weight(target.label) for target in edit.targets)


class SumWorker:
    """Runs chunks by adding."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def run(self, assignment: Assignment) -> Outcome:
        return Outcome(
            assignment.chunk_id,
            tuple(
                Measurement(edit.edit_id, prompt.prompt_id, metric, value(edit, prompt, metric), len(prompt.scored))
                for edit in assignment.edits
                for prompt in assignment.prompts
                for metric in assignment.metrics
            ),
            seconds=0.001,
            worker={"host": "here", "pid": 1, "device": "cpu", "threads": self.work.threads},
        )


class Inline:
    """An engine in this very process: one chunk an answer, after a pause.

    Attributes:
        ran: ids of the chunks that were run, in order.
    """

    capacity = 4

    def __init__(
        self,
        run: Callable[[Assignment], Outcome] | None = None,
        pause_s: float = 0.0,
        worker: Callable[[Work], Any] | None = None,
    ) -> None:
        self._run, self._pause_s, self._worker = run, pause_s, worker or SumWorker
        self._waiting: deque[Assignment] = deque()
        self.ran: list[Assignment] = []
        self.started = 0
        self.closed = False

    def __call__(self, run: Run) -> Inline:
        """The maker of itself, for `run_study`."""
        return self

    def start(self, work: Work) -> None:
        self.started += 1
        self._run = self._run or self._worker(work).run

    def submit(self, assignment: Assignment) -> None:
        self._waiting.append(assignment)

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        assert self._run is not None
        if self._waiting:
            time.sleep(self._pause_s)
            self.ran.append(self._waiting.popleft())
            yield self._run(self.ran[-1])

    def close(self) -> None:
        self.closed = True
