"""A study run on a model at hand: as any run, told to whoever listens, ended by what a listener raises."""

from pathlib import Path

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.progress import heard_by
from workbench.studies import Study, read_results, run_with_model, study_status

GIVEN = {
    "name": "at-hand",
    "models": ["zoo:attention"],
    "inputs": {"task": "repeated_random_tokens", "settings": {"block": 8}, "labels": ["second"], "count": 3},
    "edits": [{"name": "heads", "sites": ["L1H0", "L1H2"], "method": "zero"}],
    "metrics": ["loss"],
    "run": {"threads": 3},
}


@pytest.fixture(scope="module")
def model() -> wb.HookedModel:
    return wb.load("zoo:attention")


class EndedByListener(BaseException):
    """As a page's Cancel."""


def test_it_measures_on_the_model_and_leaves_it_as_it_was(model: wb.HookedModel, tmp_path: Path) -> None:
    tokens = torch.arange(8)[None]
    before, threads = model(tokens), torch.get_num_threads()
    told: list[tuple[str, int, int | None]] = []
    with heard_by(lambda what, done, total: told.append((what, done, total))):
        summary = run_with_model(Study.model_validate(GIVEN), model, tmp_path / "run")
    assert summary.complete and len(read_results(tmp_path / "run").frame) == 6
    assert torch.equal(model(tokens), before) and torch.get_num_threads() == threads
    what, done, total = told[-1]
    assert what == "attention" and done == total and total > 0


def test_a_listener_ends_it_between_chunks_and_it_goes_on_later(model: wb.HookedModel, tmp_path: Path) -> None:
    study = Study.model_validate({**GIVEN, "run": {"batch_tokens": 16}})

    def listen(what: str, done: int, total: int | None) -> None:
        if what == "attention" and done > 0:
            raise EndedByListener

    with pytest.raises(EndedByListener), heard_by(listen):
        run_with_model(study, model, tmp_path / "run")
    there = study_status(tmp_path / "run")
    assert 0 < there.coverage.done < there.coverage.planned and not there.running
    assert there.models == ("zoo:attention",) and there.began is not None and "workbench" in there.versions
    assert run_with_model(study, model, tmp_path / "run").complete


def test_several_models_are_refused(model: wb.HookedModel, tmp_path: Path) -> None:
    study = Study.model_validate({**GIVEN, "models": ["zoo:attention", "zoo:mamba"]})
    with pytest.raises(InputError, match="asks for 2"):
        run_with_model(study, model, tmp_path / "run")
