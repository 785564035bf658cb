"""A worker: measurements in order, other weights refused, broken numbers told, errors kept to their chunk."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.workbench.studies.passes.sweeps import edits_of, plain, prompts_of, units_of
from workbench.errors import LoadError
from workbench.studies.edits.edit import BASELINE, Edit
from workbench.studies.engines.protocol import Assignment, Outcome, Work
from workbench.studies.engines.worker import Worker
from workbench.studies.identity import model_digest
from workbench.studies.metrics.metric import METRICS, MetricKind
from workbench.studies.schema.study import Study


@METRICS.register("test_broken")
class Broken(MetricKind):
    """Not a number where the answer is token 3."""

    def measure(self, logits: Tensor, baseline: Tensor, prompt: Any) -> float:
        return math.nan if logits.shape[0] == 3 else 1.0


@pytest.fixture(scope="module")
def work() -> Work:
    model = wb.load("zoo:retnet", check=False)
    digest, prompts = model_digest(model), prompts_of(model)
    model.unwrap()
    study = Study.model_validate(
        {
            "name": "x",
            "models": "zoo:retnet",
            "inputs": {"task": "repetition"},
            "edits": [{"name": "h", "sites": "heads", "method": "zero"}],
            "metrics": ["loss", "kl", "test_broken"],
        }
    )
    return Work(study, {"retnet": prompts}, {"retnet": digest}, None, torch.get_num_threads())


@pytest.fixture(scope="module")
def worker(work: Work) -> Worker:
    return Worker(work)


def run(worker: Worker, edits: list[Edit], metrics: tuple[str, ...] = ("loss", "kl")) -> Outcome:
    edits = [replace(edit, model="retnet") for edit in edits]
    prompts = tuple(worker.work.prompts["retnet"][:2])
    return worker.run(Assignment("c", "retnet", tuple(edits), prompts, metrics))


def test_measurements_are_of_each_edit_prompt_and_metric_in_that_order(worker: Worker) -> None:
    prompts = list(worker.work.prompts["retnet"][:2])
    model = worker._model
    edits = edits_of(model, [2])[:2]
    outcome = run(worker, edits)
    assert outcome.error is None and not outcome.not_reused
    assert [(one.prompt_id, one.metric) for one in outcome.measurements] == [
        (prompt.prompt_id, metric) for _ in edits for prompt in prompts for metric in ("loss", "kl")
    ]
    expected = []
    for unit in units_of(model, edits, prompts):
        logits, before = (plain(model, one) for one in (unit, units_of(model, [Edit("m", BASELINE)], [unit.prompt])[0]))
        logs, logs_before = (part.double().log_softmax(-1) for part in (logits, before))
        expected.append(-float(logs[torch.arange(len(logs)), list(unit.prompt.answers)].mean()))
        expected.append(float((logs_before.exp() * (logs_before - logs)).sum(-1).mean()))
    assert [one.value for one in outcome.measurements] == pytest.approx(expected, abs=1e-5)
    assert {one.n_scored for one in outcome.measurements} == {4, 3}


def test_a_baseline_differs_from_nothing(worker: Worker) -> None:
    outcome = run(worker, [Edit("m", BASELINE)], ("kl",))
    assert [one.value for one in outcome.measurements] == [0.0, 0.0]


def test_what_is_not_a_number_is_recorded_and_told(worker: Worker) -> None:
    (edit,) = edits_of(worker._model, [2])[:1]
    outcome = run(worker, [edit], ("test_broken",))
    assert outcome.error is None
    assert outcome.measurements[0].value == 1.0 and math.isnan(outcome.measurements[1].value)
    (told,) = outcome.not_finite
    prompt = worker.work.prompts["retnet"][1]
    assert told == f"test_broken of {edit.label} (heads) on prompt {prompt.prompt_id} is nan."


def test_an_error_stays_with_its_chunk(worker: Worker) -> None:
    (edit,) = edits_of(worker._model, [2])[:1]
    outcome = run(worker, [replace(edit, positions=(999,))])
    assert outcome.error == "A prompt of 24 tokens has no position 999." and outcome.measurements == ()
    assert run(worker, [edit], ("no_such",)).error == (
        "The study has no metric 'no_such'; there is: loss, kl, test_broken."
    )
    assert run(worker, [edit]).error is None


def test_other_weights_than_planned_are_refused(work: Work) -> None:
    with pytest.raises(LoadError, match="not those that the study was planned with"):
        Worker(replace(work, digests={"retnet": "0" * 32}))


def test_without_reuse_the_numbers_are_those_of_plain_passes(work: Work, worker: Worker) -> None:
    study = work.study.model_copy(update={"run": work.study.run.model_copy(update={"reuse": False})})
    slow = Worker(replace(work, study=study))
    edits = edits_of(worker._model, [1])
    fast, plainly = (run(one, edits).measurements for one in (worker, slow))
    assert [one.value for one in fast] == pytest.approx([one.value for one in plainly], abs=1e-5)


def test_references_are_kept_for_the_next_worker(work: Work, tmp_path: Path) -> None:
    kept = replace(work, references=tmp_path)
    edits = [
        edit for edit in edits_of(wb.load("zoo:retnet", check=False), [2]) if (edit.method or {})["kind"] == "mean"
    ]
    first = run(Worker(kept), edits)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    second = run(Worker(kept), edits)
    assert [one.value for one in first.measurements] == [one.value for one in second.measurements]
    assert file.stat().st_mtime_ns == written
    file.write_bytes(b"damaged")
    third = run(Worker(kept), edits)
    assert [one.value for one in third.measurements] == [one.value for one in first.measurements]
