"""What a study would do, before it does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.studies.planning.advice import Family
from workbench.studies.planning.calibration import Calibration
from workbench.studies.planning.changes import Changes
from workbench.studies.planning.later import Later
from workbench.studies.planning.listing import Listing
from workbench.studies.planning.survey import Survey
from workbench.studies.schema.study import Study
from workbench.studies.store.status import duration

if TYPE_CHECKING:
    import pandas as pd

BYTES_A_RESULT = 70
"""Of the journal: 63 to 70 in three of the ready studies (SQLite's ``dbstat``)."""

BYTES_A_UNIT = 330
"""Of the journal, with its share of chunks and indices: 311 to 331 in the same studies."""


@dataclass(frozen=True)
class ModelPlan:
    """One model's first round.

    Attributes:
        prompts, tokens: what it reads.
        edits: how many, baselines not counted.
        units: edits times prompts, baselines included; `done` of them are measured already.
        chunks: batches still to be run.
        plain_passes: forward passes that a plain loop would take for what remains.
        passes: the same work with reuse, in whole forward passes.
        gain: their ratio: what reusing the layers below each edit can give at most.
        seconds: of what remains with one worker, loading included; None where nothing was measured.
        memory: bytes that a worker holds at most; None where nothing was measured.
        layers: of the model.
        digest: of its weights.
    """

    model: str
    prompts: int
    tokens: int
    edits: int
    units: int
    done: int
    chunks: int
    plain_passes: float
    passes: float
    gain: float
    seconds: float | None
    memory: int | None
    layers: int
    digest: str


@dataclass(frozen=True)
class Plan:
    """What a study would do; `plan_study` makes one, ``plan.json`` holds one.

    Attributes:
        families: hypotheses that are tested together.
        later: what may follow once results are there: it is not in the numbers.
        bytes: what the journal will hold, about.
        warnings: sentences.
        changes: against what the folder's journal has, or None where it has nothing.
    """

    study: Study
    folder: Path
    base: Path
    models: tuple[ModelPlan, ...]
    families: tuple[Family, ...]
    later: tuple[Later, ...]
    bytes: int
    warnings: tuple[str, ...]
    changes: Changes | None

    @property
    def units(self) -> int:
        """Of all models."""
        return sum(model.units for model in self.models)

    @property
    def done(self) -> int:
        """Units that are measured already."""
        return sum(model.done for model in self.models)

    @property
    def seconds(self) -> float | None:
        """For all that remains, with the study's number of workers; None where nothing was measured."""
        each = [model.seconds for model in self.models if model.chunks]
        return None if None in each else sum(took or 0.0 for took in each) / self.study.run.workers

    def table(self) -> pd.DataFrame:
        """One row a model."""
        import pandas as pd

        return pd.DataFrame([asdict(model) for model in self.models]).drop(columns="digest")

    def as_json(self) -> dict[str, Any]:
        """For ``plan.json``."""
        return {
            "study": self.study.model_dump(mode="json"),
            "base": str(self.base),
            "models": [asdict(model) for model in self.models],
            "families": [asdict(family) for family in self.families],
            "later": [asdict(later) for later in self.later],
            "bytes": self.bytes,
            "warnings": list(self.warnings),
            "changes": None if self.changes is None else asdict(self.changes),
        }

    def text(self) -> str:
        """Everything, for people."""
        lines = [
            f"{self.study.name}: {self.units:,} units, {self.done:,} of them done, in {self.folder}",
            "  (a unit is one edit, or the unedited model, on one prompt)",
        ]
        for model in self.models:
            lines.append(
                f"  {model.model}: {model.edits:,} edits x {model.prompts:,} prompts ({model.tokens:,} tokens) + "
                f"baselines = {model.units:,} units; {model.chunks:,} chunks to run"
            )
            if model.chunks:
                lines.append(
                    f"    forward passes: {model.plain_passes:,.0f} plain, {model.passes:,.0f} with reuse "
                    f"(at most {model.gain:.2f}x faster)"
                )
        lines += [f"  {later.sentence()}" for later in self.later]
        lines.append(f"  time: {_time(self.seconds)} with {_workers(self.study)}; memory: {_memory(self.models)}")
        lines.append(f"  disk: about {_size(self.bytes)} in {self.folder}")
        lines += _tests(self.families)
        if self.changes is not None and self.changes.any:
            lines.append(f"  changed since it was run: {self.changes.sentence()}; `run --replan` goes on with it")
        lines += [f"  warning: {sentence}" for sentence in self.warnings]
        return "\n".join(lines)


def model_plan(listing: Listing, survey: Survey, calibration: Calibration | None) -> ModelPlan:
    """Count one model's first round."""
    plain_pass = {prompt.prompt_id: survey.costs.plain(len(prompt.tokens)) for prompt in survey.prompts}
    remaining = [unit for unit in listing.units if unit.chunk_id is not None]
    plain = sum(plain_pass[unit.prompt_id] for unit in remaining)
    reused = sum(chunk.macs for chunk in listing.chunks)
    a_pass = plain / max(1, len(remaining))
    measured = calibration is not None and calibration.error is None
    return ModelPlan(
        model=listing.model,
        prompts=len(survey.prompts),
        tokens=sum(len(prompt.tokens) for prompt in survey.prompts),
        edits=len({edit.edit_id for edit in listing.edits if not edit.unedited}),
        units=len(listing.units),
        done=len(listing.units) - len(remaining),
        chunks=len(listing.chunks),
        plain_passes=float(len(remaining)),
        passes=reused / a_pass if a_pass else 0.0,
        gain=plain / reused if reused else 1.0,
        seconds=calibration.loading + reused * calibration.per_mac if calibration and measured else None,
        memory=calibration.memory if calibration and measured else None,
        layers=len(survey.costs.layers),
        digest=survey.digest,
    )


def bytes_to_write(study: Study, listings: Sequence[Listing]) -> int:
    """What the journal takes for these units."""
    units = sum(len(listing.units) for listing in listings)
    return units * (BYTES_A_UNIT + BYTES_A_RESULT * len(study.metrics))


def failed_calibrations(found: Mapping[str, Calibration]) -> list[str]:
    """Warnings about chunks that failed when they were tried."""
    return [f"{label}: the chunk that was tried failed: {c.error}" for label, c in found.items() if c.error is not None]


def _tests(families: Sequence[Family]) -> Iterator[str]:
    """A line for each model and entry: m, and the metrics that are corrected for so many tests, each by itself."""
    if families:
        yield "  tests (m edits are corrected together: the larger m, the smaller a p has to be):"
    for (model, entry), listed in groupby(families, key=lambda family: (family.model, family.entry)):
        metrics = list(listed)
        m, most = metrics[0].m, metrics[0].most
        later = (
            ""
            if most == m
            else f" in the first round, {'perhaps more' if most is None else f'at most {most:,}'} in the end"
        )
        yield f"    {model} / {entry}: m = {m:,}{later}; {', '.join(family.metric for family in metrics)}"


def _time(seconds: float | None) -> str:
    return "not measured" if seconds is None else duration(seconds)


def _memory(models: Sequence[ModelPlan]) -> str:
    known = [model.memory for model in models if model.memory is not None]
    return f"{_size(max(known))} a worker" if known else "not measured"


def _workers(study: Study) -> str:
    run = study.run
    return (
        f"{run.workers} worker{'s' if run.workers > 1 else ''} of {run.threads} thread{'s' if run.threads > 1 else ''}"
    )


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
