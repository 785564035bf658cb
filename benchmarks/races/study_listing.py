"""A study of a hundred thousand units: planned, begun and gone on with, its models aside."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.race import Contestant, Race
from benchmarks.records import Target

if TYPE_CHECKING:
    from workbench.studies.engines.protocol import Assignment, Outcome, Work
    from workbench.studies.planning.survey import Survey
    from workbench.studies.schema.study import ModelEntry, Run, Study

EVERYTHING, PLAN, RESUME = "planned, begun and resumed", "planned", "resumed"


def races() -> tuple[Race, ...]:
    """A thousand heads on a hundred prompts."""
    return (race(layers=50, heads=20, prompts=100),)


def race(layers: int, heads: int, prompts: int) -> Race:
    """Every head of a model that is never loaded, and its baseline, on every prompt."""
    size = layers, heads, prompts
    units = (layers * heads + 1) * prompts
    return Race(
        name="study-listing",
        title=f"A study of {units:,} units, planned and resumed",
        shapes=f"{layers} layers of {heads} heads and the unedited model on {prompts} prompts, chunks of 2,048 tokens",
        dtype="",
        contestants=(
            Contestant(
                EVERYTHING,
                "`plan_study(...)`, then `run_study(...)` to its first chunk, and the same again in the folder it left",
                partial(_everything, size),
            ),
            Contestant(PLAN, "`plan_study(...)` in an empty folder, with its `plan.json`", partial(_planned, size)),
            Contestant(
                RESUME, "`run_study(...)` to its first chunk, in a folder where it was begun", partial(_resumed, size)
            ),
        ),
        budget=30.0,
        least=2,
        most=4,
        warm_up=1,
        targets=(Target(side=EVERYTHING, quantity="seconds", at_most=10.0),),
        oracle=lambda: _count(units),
        error_against="the number of units",
        notes="What a model's survey finds is made up, so that no model is loaded; the journal is on disk, in a "
        "temporary folder.",
    )


def _everything(size: tuple[int, int, int]) -> Callable[[], Any]:
    def call() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            _plan(size, Path(folder))
            _begin(size, Path(folder))
            return _count(_begin(size, Path(folder)))

    return call


def _planned(size: tuple[int, int, int]) -> Callable[[], Any]:
    def call() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return _count(_plan(size, Path(folder)))

    return call


def _resumed(size: tuple[int, int, int]) -> Callable[[], Any]:
    folder = tempfile.TemporaryDirectory()
    _begin(size, Path(folder.name))

    def call() -> Any:
        return _count(_begin(size, Path(folder.name)))

    weakref.finalize(call, folder.cleanup)
    return call


def _plan(size: tuple[int, int, int], folder: Path) -> int:
    from workbench.studies.planning import plan_study

    plan = plan_study(_study(size), folder, calibrate=False, progress=False, surveyor=partial(_survey, size))
    return plan.units


def _begin(size: tuple[int, int, int], folder: Path) -> int:
    from workbench.studies.coordinator import run_study

    summary = run_study(
        _study(size), folder, progress=False, surveyor=partial(_survey, size), engine=lambda run: _Stopped(run)
    )
    assert summary.ended == "stopped" and summary.coverage.done == 0, summary.text()
    return summary.coverage.planned


class _Stopped:
    """An engine that stops the run, as Ctrl-C does, when it has been handed its first chunks."""

    capacity = 4

    def __init__(self, run: Run) -> None:
        self.run = run

    def start(self, work: Work) -> None:
        """Nothing to start."""

    def submit(self, assignment: Assignment) -> None:
        """Taken, and never run."""

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        raise KeyboardInterrupt

    def close(self) -> None:
        """Nothing to end."""


def _study(size: tuple[int, int, int]) -> Study:
    import workbench.studies.edits
    import workbench.studies.inputs
    import workbench.studies.metrics
    import workbench.studies.searches  # noqa: F401 - registers the kinds
    from workbench.studies.schema.study import Study

    return Study.model_validate(
        {
            "name": "large",
            "models": ["a-model-that-is-not-loaded"],
            "inputs": {"task": "repetition", "count": size[2]},
            "edits": [{"name": "heads", "sites": "heads", "method": "zero"}],
            "metrics": ["loss"],
            "run": {"batch_tokens": 2048},
        }
    )


def _survey(size: tuple[int, int, int], study: Study, entry: ModelEntry, base: Path) -> Survey:
    from workbench.studies.edits.site import Target as Edited
    from workbench.studies.inputs.prompt import Prompt
    from workbench.studies.planning.costs import Costs
    from workbench.studies.planning.survey import Survey

    layers, heads, prompts = size
    targets = tuple(
        Edited(label=f"L{layer}H{head}", at=f"blocks.{layer}.mixer.hook_z", layer=layer, heads=(head,))
        for layer in range(layers)
        for head in range(heads)
    )
    return Survey(
        digest="0" * 32,
        dtype="float32",
        prompts=tuple(Prompt((number, *range(1, 8)), (6,), (0,), group=str(number)) for number in range(prompts)),
        targets={"heads": targets},
        pools={},
        scores={},
        costs=Costs(layers=(100.0,) * layers, sources=(0.0,) * layers, unembedding=50.0),
    )


def _count(units: int) -> Any:
    import torch

    return torch.tensor([float(units)])
