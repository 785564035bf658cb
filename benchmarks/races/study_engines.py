"""A study's engines: what handing chunks to other processes costs, and what a second worker brings."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Target

if TYPE_CHECKING:
    from workbench.studies.engines.protocol import Assignment, Engine, Outcome, Work

ALONE = "a worker in this process"
RAY, TWO_RAY = "Ray, one worker", "Ray, two workers"
LOCAL, TWO_LOCAL = "processes, one worker", "processes, two workers"
LAYERS = tuple(range(20, 30))
OVERHEAD_S = 0.005
"""Of a unit, at most."""


def races() -> tuple[Race, ...]:
    """Heads of ten late layers of SmolLM2: short units, in chunks that two workers can share evenly."""
    units = 2 * (1 + len(LAYERS) * 9)
    return (
        race("SmolLM2-135M", lambda: str(models.smollm2_folder()), LAYERS, units, (RAY, TWO_RAY, LOCAL, TWO_LOCAL)),
    )


def race(label: str, model: Callable[[], str], layers: Sequence[int], units: int, engines: Sequence[str]) -> Race:
    """Zero every head of some layers on two prompts, chunk by chunk.

    Args:
        model: gives what a study calls the model.
        units: that this makes, baselines included.
        engines: sides besides the worker in this process.
    """
    job = cache(partial(_job, model, tuple(layers)))
    pairs = tuple(pair for pair in ((TWO_RAY, RAY), (TWO_LOCAL, LOCAL)) if set(pair) <= set(engines))
    return Race(
        name="study-engines",
        title=f"A study's engines: {units} units of {label}",
        shapes=f"every head of {len(layers)} layers zeroed on two prompts of about 33 tokens, in chunks",
        contestants=(
            Contestant(ALONE, "`Worker(work).run(chunk)`, chunk after chunk", partial(_alone, job)),
            *(
                Contestant(
                    name,
                    "from the first chunk handed over to the last one back; each worker is a "
                    + ("Ray actor" if name in (RAY, TWO_RAY) else "process")
                    + " with one thread that holds the model already",
                    partial(_engine, job, name),
                )
                for name in engines
            ),
        ),
        budget=60.0,
        least=3,
        most=6,
        warm_up=1,
        compare=pairs,
        targets=(
            *(Target(side=two, quantity="ratio", at_most=1 / 1.6, against=one) for two, one in pairs if two == TWO_RAY),
            *(
                Target(side=one, quantity="extra_seconds", at_most=OVERHEAD_S * units)
                for one in (RAY, LOCAL)
                if one in engines
            ),
        ),
        oracle=lambda: _alone(job)(),
        error_against="the same numbers from a worker in this process",
        notes="Starting Ray, starting workers and loading models is not timed. Processor time is that of this process "
        "only.",
    )


def _job(model: Callable[[], str], layers: tuple[int, ...]) -> tuple[Work, list[Assignment]]:
    """What workers have to know, and the chunks."""
    import workbench.studies.edits
    import workbench.studies.inputs
    import workbench.studies.metrics
    import workbench.studies.searches  # noqa: F401 - registers the kinds
    from workbench.studies.planning.assigning import assignment, work_of
    from workbench.studies.planning.listing import first_rounds
    from workbench.studies.planning.survey import survey_all, survey_model
    from workbench.studies.schema.study import Study

    study = Study.model_validate(
        {
            "name": "pace",
            "models": [{"id": model(), "name": "model", "device": "cpu"}],
            "inputs": {"task": "repeated_random_tokens", "settings": {"block": 16}, "labels": ["second"], "count": 2},
            "edits": [{"name": "heads", "sites": {"kind": "heads", "layers": list(layers)}, "method": "zero"}],
            "metrics": ["loss"],
        }
    )
    surveys = survey_all(study, Path.cwd(), survey_model)
    (listing,) = first_rounds(study, surveys)
    edits = {edit.edit_id: edit for edit in listing.edits}
    prompts = {prompt.prompt_id: prompt for prompt in surveys["model"].prompts}
    return work_of(study, surveys, None), [assignment(chunk, edits, prompts) for chunk in listing.chunks]


def _alone(job: Callable[[], tuple[Work, list[Assignment]]]) -> Callable[[], Any]:
    from workbench.studies.engines.worker import Worker

    work, chunks = job()
    worker = Worker(work)
    return lambda: _numbers([worker.run(chunk) for chunk in chunks])


def _engine(job: Callable[[], tuple[Work, list[Assignment]]], name: str) -> Callable[[], Any]:
    work, chunks = job()
    engine = _made(name)
    engine.start(work)

    def call() -> Any:
        left, out = list(reversed(chunks)), 0
        ended: list[Outcome] = []
        while left or out:
            while left and out < engine.capacity:
                engine.submit(left.pop())
                out += 1
            found = list(engine.outcomes(1.0))
            out -= len(found)
            ended += found
        return _numbers(ended)

    weakref.finalize(call, engine.close)
    call()  # every worker has read the model's weights and tried its shortcuts
    return call


def _made(name: str) -> Engine:
    workers = 2 if name in (TWO_RAY, TWO_LOCAL) else 1
    if name in (LOCAL, TWO_LOCAL):
        from workbench.studies.engines.local import LocalEngine

        return LocalEngine(workers, 1)
    try:
        import ray
    except ImportError as error:
        raise CannotMeasure("Ray is not installed: pip install 'workbench[ray]'.") from error
    from workbench.studies.engines.ray import RayEngine

    # One cluster for both sides, with a CPU for each of their workers: one side's are idle while the other's run.
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    return RayEngine(workers, 1)


def _numbers(ended: Sequence[Outcome]) -> Any:
    """Every measurement, in an order that does not depend on who was first."""
    import torch

    for outcome in ended:
        assert outcome.error is None, outcome.error
    found = {(one.edit_id, one.prompt_id): one.value for outcome in ended for one in outcome.measurements}
    return torch.tensor([found[key] for key in sorted(found)], dtype=torch.float64)
