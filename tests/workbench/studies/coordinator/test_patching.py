"""A study that patches measures the corrupt prompts, too: how far patching could go."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.workbench.studies.arithmetic import Inline
from workbench.studies.coordinator import run_study
from workbench.studies.engines.worker import Worker
from workbench.studies.inputs.reading import read_prompts
from workbench.studies.report import effects_table
from workbench.studies.schema.study import Study
from workbench.studies.store import read_results

STUDY = {
    "name": "patching",
    "models": "zoo:attention",
    "inputs": {"task": "associative_recall", "settings": {"pairs": 4}, "count": 4},
    "edits": [
        {"name": "everything", "sites": {"kind": "hooks", "at": "blocks.0.hook_resid_pre"}, "method": "patch"},
        {"name": "zeroed", "sites": {"kind": "mlps", "layers": [3]}, "method": "zero"},
    ],
    "metrics": ["loss"],
}


def test_corrupt_prompts_are_measured_where_something_is_patched_from_them(tmp_path: Path) -> None:
    study = Study.model_validate(STUDY)
    run_study(study, tmp_path / "run", base=tmp_path, progress=False, engine=Inline(worker=Worker))
    results = read_results(tmp_path / "run")
    frame = results.frame
    with wb.load("zoo:attention", check=False).hooks() as model, torch.no_grad():
        prompts = read_prompts(study, model, tmp_path)
        for prompt in prompts:
            assert prompt.corrupt is not None
            log = model(torch.tensor([prompt.corrupt]))[0, list(prompt.scored)].log_softmax(-1)
            loss = -log.gather(1, torch.tensor(prompt.answers)[:, None]).mean()
            here = frame[frame["prompt_id"] == prompt.prompt_id]
            assert here["corrupt"].tolist() == pytest.approx([float(loss)] * 2, rel=1e-5)
    # All that enters the first layer is the corrupt prompt's, so nothing is left of the difference.
    patched = frame[frame["family"] == "everything"]
    assert patched["value"].tolist() == pytest.approx(patched["corrupt"].tolist(), rel=1e-5)
    assert results.coverage["planned"] == 4 * 4
    table = effects_table(results).set_index("family")
    assert table.loc["everything", "restored"] == pytest.approx(0, abs=1e-4)


def test_a_study_that_patches_nothing_measures_no_corrupt_prompt(tmp_path: Path) -> None:
    study = Study.model_validate({**STUDY, "edits": STUDY["edits"][1:]})
    run_study(study, tmp_path / "run", base=tmp_path, progress=False, engine=Inline(worker=Worker))
    results = read_results(tmp_path / "run")
    assert results.coverage["planned"] == 2 * 4
    assert results.frame["corrupt"].isna().all()
