"""A worker: it loads a study's models and turns chunks into measurements. It writes no results."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

import workbench.studies.metrics  # noqa: F401 - registers the built-in metrics
from workbench.errors import InputError, LoadError, WorkbenchError
from workbench.model import HookedModel
from workbench.studies.edits.binding import bind_edit
from workbench.studies.edits.edit import Edit
from workbench.studies.engines.donors import WorkerDonors
from workbench.studies.engines.protocol import Assignment, Measurement, Outcome, Work
from workbench.studies.identity import model_digest
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.loading import load_model
from workbench.studies.metrics.metric import MetricKind
from workbench.studies.passes.sweeping import Passes, Unit


class Worker:
    """Runs chunks of one study, in one process.

    One model is held at a time; another one's chunk makes the worker load that.

    Attributes:
        work: what it was made for.
    """

    def __init__(self, work: Work) -> None:
        """Load the study's first model, so that what cannot be loaded is known at once.

        Raises:
            LoadError: the model cannot be loaded, or is not the one that was planned.
        """
        self.work = work
        torch.set_num_threads(work.threads)
        self._label: str | None = None
        self._model: HookedModel
        self._donors: WorkerDonors
        self._passes: Passes
        self._turn_to(work.study.models[0].label)

    def run(self, assignment: Assignment) -> Outcome:
        """Run a chunk. Whatever goes wrong in it is told in the outcome."""
        start = time.perf_counter()
        measurements: tuple[Measurement, ...] = ()
        error = None
        strange: list[str] = []
        try:
            measurements, strange = self._measured(assignment)
        except WorkbenchError as refusal:
            error = str(refusal)
        except Exception as fault:  # a kind of a user's own may raise anything; it costs its chunk, not the study
            told = str(fault).strip().splitlines()
            error = f"{type(fault).__name__}: {told[0] if told else 'no reason given'}"
        return Outcome(
            assignment.chunk_id,
            measurements,
            error,
            seconds=time.perf_counter() - start,
            worker=self._record(),
            not_reused=tuple(self._passes.trust.reasons) if self._label is not None else (),
            not_finite=tuple(strange),
        )

    def _measured(self, assignment: Assignment) -> tuple[tuple[Measurement, ...], list[str]]:
        self._turn_to(assignment.model)
        metrics = self._metrics(assignment.metrics)
        places = {
            (edit.edit_id, prompt.prompt_id): number
            for number, (edit, prompt) in enumerate(product(assignment.edits, assignment.prompts))
        }
        compared = any(metric.reads_baseline for metric in metrics)
        baselines = {p.prompt_id: self._passes.baseline(p) for p in assignment.prompts} if compared else {}
        found: dict[int, list[Measurement]] = {}
        strange: list[str] = []
        for unit, logits in self._passes.logits(
            [self._unit(e, p) for e, p in product(assignment.edits, assignment.prompts)]
        ):
            edit, prompt = unit.edit, unit.prompt
            baseline = baselines.get(prompt.prompt_id, logits)
            here = found[places[edit.edit_id, prompt.prompt_id]] = []
            for metric in metrics:
                value = _value(metric, logits, baseline, prompt)
                here.append(Measurement(edit.edit_id, prompt.prompt_id, metric.name, value, len(prompt.scored)))
                if not math.isfinite(value):
                    strange.append(
                        f"{metric.name} of {edit.label} ({edit.family}) on prompt {prompt.prompt_id} is {value}."
                    )
        return tuple(one for number in sorted(found) for one in found[number]), strange

    def _unit(self, edit: Edit, prompt: Prompt) -> Unit:
        return Unit(edit, prompt, lambda: bind_edit(self._model, edit, prompt, self._donors))

    def _metrics(self, names: tuple[str, ...]) -> list[MetricKind]:
        known: Mapping[str, MetricKind] = {metric.name: metric for metric in self.work.study.metrics}
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise InputError(f"The study has no metric {missing!r}; there is: {', '.join(known)}.")
        return [known[name] for name in names]

    def _turn_to(self, label: str) -> None:
        """Have this model at hand, and no other."""
        if label == self._label:
            return
        if self._label is not None:
            self._model.unwrap()
            # Gone before the next one comes: two may not fit.
            del self._model, self._donors, self._passes
            self._label = None
        self._model = self._load(label)
        digest = self.work.digests[label]
        self._donors = WorkerDonors(self._model, self.work.prompts[label], digest, self.work.references)
        self._passes = Passes(self._model, self.work.study.run.reuse)
        self._label = label

    def _load(self, label: str) -> HookedModel:
        entry = next((entry for entry in self.work.study.models if entry.label == label), None)
        if entry is None:
            raise InputError(f"The study has no model {label!r}.")
        model = load_model(entry)
        found, planned = model_digest(model), self.work.digests.get(label)
        if planned != found:
            model.unwrap()
            raise LoadError(
                f"The weights of {entry.id} here are not those that the study was planned with "
                f"(digest {found}, planned {planned}); plan the study again."
            )
        return model

    def _record(self) -> dict[str, Any]:
        """Where it ran."""
        record: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "threads": torch.get_num_threads()}
        if self._label is not None:
            record["device"] = str(self._model.cfg.device)
        return record


def _value(metric: MetricKind, logits: Tensor, baseline: Tensor, prompt: Prompt) -> float:
    """A metric's number; NaN where logits are broken, whatever the metric makes of them."""
    # The largest logit of a row is NaN where any is, and infinite where any is (-inf is a token ruled out).
    if not bool(torch.isfinite(logits.amax(-1)).all()):
        return math.nan
    return metric.measure(logits, baseline, prompt)
