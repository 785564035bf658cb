"""Running a study whose models are sums."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workbench.studies.arithmetic import HEADS, LAYERS, Inline, SumWorker, study, surveyor, weight
from workbench.errors import InputError
from workbench.studies.coordinator import Summary, run_study
from workbench.studies.engines.protocol import Assignment, Outcome, Work
from workbench.studies.store import read_results, study_status

UNITS = (LAYERS * HEADS + 1) * 6


def run(folder: Path, engine: Inline | None = None, weights: str = "as they are", **changed: object) -> Summary:
    options = {key: changed.pop(key) for key in ("replan", "source", "base") if key in changed}
    return run_study(
        study(**changed),
        folder,
        progress=False,
        surveyor=surveyor(weights=weights),
        engine=engine or Inline(),
        **options,  # type: ignore[arg-type]
    )


def test_every_effect_is_what_the_sum_says(tmp_path: Path) -> None:
    summary = run(tmp_path, metrics=["loss", "accuracy"])
    assert summary.complete and summary.units == UNITS and summary.coverage.planned == UNITS
    frame = read_results(tmp_path).frame
    assert len(frame) == LAYERS * HEADS * 6 * 2
    for row in frame.itertuples():
        assert row.effect == pytest.approx(weight(str(row.label)), abs=1e-12)
        assert row.baseline == pytest.approx(len(str(row.metric)) + int(str(row.group).split()[1]) / 16)
    assert set(frame["n_scored"]) == {1}


def test_a_finished_study_starts_no_worker_and_loads_no_model(tmp_path: Path) -> None:
    run(tmp_path)
    engine = Inline()

    def refuse(*_: object) -> None:
        raise AssertionError("a model was loaded")

    summary = run_study(study(), tmp_path, progress=False, surveyor=refuse, engine=engine)  # type: ignore[arg-type]
    assert summary.complete and summary.units == 0 and engine.started == 0


def test_a_chunk_that_cannot_run_is_recorded_and_the_others_go_on_and_it_is_tried_by_the_next_run(
    tmp_path: Path,
) -> None:
    def run_but_one(assignment: Assignment) -> Outcome:
        if any(target.label == "L1H2" for edit in assignment.edits for target in edit.targets):
            return Outcome(assignment.chunk_id, error="no room for L1H2")
        return SumWorker(WORK).run(assignment)

    summary = run(tmp_path, Inline(run_but_one))
    assert not summary.complete and summary.ended == "done"
    assert summary.coverage.failed > 0 and summary.coverage.done + summary.coverage.failed == UNITS
    assert summary.coverage.reasons == {"no room for L1H2": summary.coverage.failed}
    again = Inline()
    assert run(tmp_path, again).complete
    assert sum(len(one.edits) * len(one.prompts) for one in again.ran) == summary.coverage.failed


def test_a_chunk_whose_worker_dies_is_tried_so_often_and_no_oftener(tmp_path: Path) -> None:
    deaths: dict[str, int] = {}

    def die(assignment: Assignment) -> Outcome:
        labels = {target.label for edit in assignment.edits for target in edit.targets}
        tries = deaths[assignment.chunk_id] = deaths.get(assignment.chunk_id, 0) + 1
        if "L0H0" in labels or ("L2H0" in labels and tries < 3):
            return Outcome(assignment.chunk_id, error="the worker was killed", lost=True)
        return SumWorker(WORK).run(assignment)

    summary = run(tmp_path, Inline(die), run={"batch_tokens": 64, "retries": 2})
    assert set(summary.coverage.reasons) == {"3 workers died over it: the worker was killed"}
    frame = read_results(tmp_path).frame
    assert "L0H0" not in set(frame["label"]) and "L2H0" in set(frame["label"])
    assert max(deaths.values()) == 3


def test_half_a_chunk_is_none(tmp_path: Path) -> None:
    def half(assignment: Assignment) -> Outcome:
        whole = SumWorker(WORK).run(assignment)
        return replace(whole, measurements=whole.measurements[:-1]) if len(assignment.edits) > 1 else whole

    summary = run(tmp_path, Inline(half))
    assert summary.coverage.failed > 0
    assert all("measurements of" in reason for reason in summary.coverage.reasons)


def test_what_is_no_number_is_recorded_and_counted(tmp_path: Path) -> None:
    def spoil(assignment: Assignment) -> Outcome:
        whole = SumWorker(WORK).run(assignment)
        spoilt = {"L0H1": math.nan, "L0H2": math.inf}
        labels = {edit.edit_id: edit.label for edit in assignment.edits}
        return replace(
            whole,
            measurements=tuple(
                replace(one, value=spoilt.get(labels[one.edit_id], one.value)) for one in whole.measurements
            ),
        )

    summary = run(tmp_path, Inline(spoil))
    assert summary.complete and summary.coverage.not_finite == {"loss": 12}
    frame = read_results(tmp_path).frame.set_index("label")
    assert frame.loc["L0H1", "value"].isna().all() and (frame.loc["L0H2", "value"] == math.inf).all()
    assert frame.loc["L0H3", "value"].notna().all()


def test_ctrl_c_keeps_what_is_done_and_the_next_run_does_the_rest(tmp_path: Path) -> None:
    done: list[str] = []

    def interrupted(assignment: Assignment) -> Outcome:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(assignment.chunk_id)
        return SumWorker(WORK).run(assignment)

    engine = Inline(interrupted)
    summary = run(tmp_path, engine)
    assert summary.ended == "stopped" and summary.chunks == 3 and engine.closed
    assert study_status(tmp_path).ended == "stopped"
    rest = Inline()
    assert run(tmp_path, rest).complete
    assert not {one.chunk_id for one in rest.ran} & set(done)


def test_a_changed_study_is_refused_with_what_would_change_and_replanned_runs_only_that(tmp_path: Path) -> None:
    run(tmp_path)
    more = {"inputs": {"task": "repetition", "count": 8}}
    with pytest.raises(InputError, match=r"26 units added, 78 kept, 0 dropped, because of: inputs\.count is 8, not 6"):
        run(tmp_path, **more)
    assert read_results(tmp_path).coverage.planned == UNITS
    engine = Inline()
    assert run(tmp_path, engine, replan=True, **more).complete
    assert sum(len(one.edits) * len(one.prompts) for one in engine.ran) == 26
    assert len(read_results(tmp_path).frame) == LAYERS * HEADS * 8
    # And back again: nothing is lost, nothing is run.
    engine = Inline()
    assert run(tmp_path, engine, replan=True).complete and not engine.ran
    assert len(read_results(tmp_path).frame) == LAYERS * HEADS * 6


def test_a_metric_more_is_measured_alone(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="78 measured again by new metrics"):
        run(tmp_path, metrics=["loss", "accuracy"])
    engine = Inline()
    assert run(tmp_path, engine, replan=True, metrics=["loss", "accuracy"]).complete
    assert {one.metrics for one in engine.ran} == {("accuracy",)}
    assert set(read_results(tmp_path).frame["metric"]) == {"loss", "accuracy"}


def test_why_nothing_was_reused_is_told_once(tmp_path: Path) -> None:
    def plainly(assignment: Assignment) -> Outcome:
        whole = SumWorker(WORK).run(assignment)
        return replace(whole, not_reused=("keys are shared across layers",))

    assert run(tmp_path, Inline(plainly)).notes == ("Computed plainly: keys are shared across layers",)


def test_other_weights_are_another_study(tmp_path: Path) -> None:
    run(tmp_path)
    engine = Inline()
    summary = run(tmp_path, engine, weights="trained further", replan=True)
    assert "the weights of attention are others" in summary.notes[0]
    assert sum(len(one.edits) * len(one.prompts) for one in engine.ran) == UNITS


@pytest.mark.parametrize(
    "changed", [{"run": {"workers": 3, "threads": 2}}, {"question": "why?"}, {"statistics": {"q": 0.1}}]
)
def test_how_it_is_run_and_judged_may_change_freely(tmp_path: Path, changed: dict[str, object]) -> None:
    run(tmp_path)
    engine = Inline()
    assert run(tmp_path, engine, **changed).complete and not engine.ran
    kept = read_results(tmp_path).study.model_dump(mode="json")
    for key, options in changed.items():
        assert kept[key] == options or all(kept[key][name] == value for name, value in options.items())  # type: ignore[attr-defined]


def test_a_file_that_changes_while_it_runs_is_noted_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("name: sums")

    def write(assignment: Assignment) -> Outcome:
        file.write_text("name: differences")
        return SumWorker(WORK).run(assignment)

    summary = run(tmp_path / "run", Inline(write), source=file)
    assert summary.complete and "has changed while the study ran" in summary.notes[0]
    assert not run(tmp_path / "run", source=file).notes


def test_random_units_are_computed_again_and_the_largest_difference_is_told(tmp_path: Path) -> None:
    def drift(assignment: Assignment) -> Outcome:
        whole = SumWorker(WORK).run(assignment)
        if len(assignment.edits) == len(assignment.prompts) == 1 and assignment.edits[0].targets:
            return replace(whole, measurements=tuple(replace(m, value=m.value + 1e-3) for m in whole.measurements))
        return whole

    exact = run(tmp_path / "exact", run={"batch_tokens": 64, "verify": 9}).verification
    assert exact is not None and exact.units == 9 and exact.largest == 0.0
    drifted = run(tmp_path / "drifted", Inline(drift), run={"batch_tokens": 64, "verify": 9}).verification
    assert drifted is not None and drifted.largest == pytest.approx(1e-3)
    assert len(read_results(tmp_path / "drifted").verified) == 9


WORK = Work(study(), {}, {}, None, 1)
