"""A worker: it loads a study's models and turns chunks into measurements. It writes no results."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import workbench.studies.metrics  # noqa: F401 - registers the built-in metrics
from workbench.errors import InputError, LoadError, WorkbenchError
from workbench.model import HookedModel
from workbench.studies.edits.binding import bind_edit
from workbench.studies.edits.edit import BASELINE
from workbench.studies.edits.site import BoundEdit
from workbench.studies.engines.donors import WorkerDonors
from workbench.studies.engines.protocol import Assignment, Measurement, Outcome, Work
from workbench.studies.identity import model_digest
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.loading import load_model
from workbench.studies.metrics.metric import MetricKind
from workbench.studies.passes.plain import plain_logits


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
        self._label = work.study.models[0].label
        self._model, self._donors = self._load(self._label)

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
            worker=self._record(strange),
        )

    def _measured(self, assignment: Assignment) -> tuple[tuple[Measurement, ...], list[str]]:
        model = self._model_called(assignment.model)
        metrics = self._metrics(assignment.metrics)
        found: list[Measurement] = []
        strange: list[str] = []
        for edit in assignment.edits:
            for prompt in assignment.prompts:
                baseline = plain_logits(model, prompt, BoundEdit([]))
                if edit.family == BASELINE:
                    logits = baseline
                else:
                    logits = plain_logits(model, prompt, bind_edit(model, edit, prompt, self._donors))
                for metric in metrics:
                    value = _value(metric, logits, baseline, prompt)
                    found.append(Measurement(edit.edit_id, prompt.prompt_id, metric.name, value, len(prompt.scored)))
                    if not math.isfinite(value):
                        strange.append(
                            f"{metric.name} of {edit.label} ({edit.family}) on prompt {prompt.prompt_id} is {value}."
                        )
        return tuple(found), strange

    def _metrics(self, names: tuple[str, ...]) -> list[MetricKind]:
        known: Mapping[str, MetricKind] = {metric.name: metric for metric in self.work.study.metrics}
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise InputError(f"The study has no metric {missing!r}; there is: {', '.join(known)}.")
        return [known[name] for name in names]

    def _model_called(self, label: str) -> HookedModel:
        if label != self._label:
            self._model.unwrap()
            del self._model, self._donors
            self._model, self._donors = self._load(label)
            self._label = label
        return self._model

    def _load(self, label: str) -> tuple[HookedModel, WorkerDonors]:
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
        return model, WorkerDonors(model, self.work.prompts[label], found, self.work.references)

    def _record(self, strange: list[str]) -> dict[str, Any]:
        record: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": str(self._model.cfg.device),
            "threads": torch.get_num_threads(),
        }
        return record | ({"not_finite": strange} if strange else {})


def _value(metric: MetricKind, logits: Tensor, baseline: Tensor, prompt: Prompt) -> float:
    """A metric's number; NaN where logits are broken, whatever the metric makes of them."""
    # The largest logit of a row is NaN where any is, and infinite where any is (-inf is a token ruled out).
    if not bool(torch.isfinite(logits.amax(-1)).all()):
        return math.nan
    return metric.measure(logits, baseline, prompt)
