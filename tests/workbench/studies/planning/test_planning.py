"""What a study would do: its units, its chunks, what they cost, and what is said about them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workbench.studies.arithmetic import HEADS, LAYERS, Inline, study, surveyor
from workbench.errors import InputError
from workbench.studies.coordinator import run_study
from workbench.studies.edits.edit import BASELINE, Edit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning import plan_study, planner
from workbench.studies.planning.chunks import BLOCK, compose
from workbench.studies.planning.costs import Costs, model_costs
from workbench.studies.planning.listing import first_rounds
from workbench.studies.planning.survey import Survey, inputs_digest
from workbench.studies.planning.units import UnitNames
from workbench.studies.schema.study import Study
from workbench.studies.searches.search import SEARCHES, SearchKind


def surveys(study: Study, **options: object) -> dict[str, Survey]:
    return {entry.label: surveyor(**options)(study, entry, Path()) for entry in study.models}  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.sampled_from([4, 8, 9]), min_size=1, max_size=20),
    heads=st.integers(1, 5),
    batch_tokens=st.integers(1, 100),
)
def test_chunks_hold_every_unit_once_in_batches_that_fit(lengths: list[int], heads: int, batch_tokens: int) -> None:
    options = study(inputs={"task": "repetition", "count": len(lengths)}, run={"batch_tokens": batch_tokens})
    (listing,) = first_rounds(options, surveys(options, heads=heads, tokens=lambda number: lengths[number]))
    prompts = {p.prompt_id: p for p in surveys(options, heads=heads, tokens=lambda n: lengths[n])["attention"].prompts}
    edits = {edit.edit_id: edit for edit in listing.edits}
    held = [(edit, prompt) for chunk in listing.chunks for edit in chunk.edit_ids for prompt in chunk.prompt_ids]
    assert len(held) == len(set(held)) == len(lengths) * (LAYERS * heads + 1) == len(listing.units)
    for chunk in listing.chunks:
        assert len({edits[edit].layer for edit in chunk.edit_ids}) == 1
        assert len({len(prompts[prompt].tokens) for prompt in chunk.prompt_ids}) == 1
        assert chunk.size == 1 or chunk.size * len(prompts[chunk.prompt_ids[0]].tokens) <= batch_tokens
        assert len({edits[edit].family == BASELINE for edit in chunk.edit_ids}) == 1
    assert len({chunk.chunk_id for chunk in listing.chunks}) == len(listing.chunks)


def test_baselines_come_first_then_block_by_block_up_the_layers() -> None:
    options = study(inputs={"task": "repetition", "count": 2 * BLOCK}, run={"batch_tokens": 8 * HEADS})
    (listing,) = first_rounds(options, surveys(options))
    edits = {edit.edit_id: edit for edit in listing.edits}
    places = {prompt.prompt_id: number for number, prompt in enumerate(surveys(options)["attention"].prompts)}
    order = [
        (edits[c.edit_ids[0]].family != BASELINE, places[c.prompt_ids[0]] // BLOCK, edits[c.edit_ids[0]].layer)
        for c in listing.chunks
        if edits[c.edit_ids[0]].family != BASELINE
    ]
    assert order == sorted(order) and len(set(order)) == 2 * LAYERS
    baselines = [edits[chunk.edit_ids[0]].family == BASELINE for chunk in listing.chunks]
    assert baselines == sorted(baselines, reverse=True)


def test_units_that_lack_different_things_are_not_put_together() -> None:
    (survey,) = surveys(study()).values()
    one, other = (Edit(model="m", family="f", seed=seed) for seed in (1, 2))
    first, second, third, *_ = (prompt.prompt_id for prompt in survey.prompts)
    missing = {
        first: {one.edit_id: ("loss",), other.edit_id: ("loss",)},
        second: {one.edit_id: ("loss", "kl")},
        third: {one.edit_id: ("loss",), other.edit_id: ("loss",)},
    }
    chunks = compose("m", 0, [one, other], survey.prompts, missing, 1000, survey.costs)
    assert {(chunk.prompt_ids, len(chunk.edit_ids), chunk.metrics) for chunk in chunks} == {
        ((first, third), 2, ("loss",)),
        ((second,), 1, ("loss", "kl")),
    }


def test_costs_are_those_of_smollm2_in_the_literature() -> None:
    """30 layers, 9 heads of 64, 3 key-value heads, MLP 1536, vocabulary 49152, 100 tokens of which half are scored."""
    attention, mlp = 2 * 576 * 576 + 2 * 576 * 192, 3 * 576 * 1536
    costs = Costs(layers=(attention + mlp,) * 30, sources=(2 * 576,) * 30, unembedding=576 * 49152)
    assert costs.plain(100) / 100e6 == pytest.approx(136.2, abs=0.05)
    assert costs.restarted(0, 100, 50) / 100e6 == pytest.approx(122.1, abs=0.05)
    sweep = sum(costs.restarted(layer, 100, 50) for layer in range(30)) / 30
    assert costs.plain(100) / sweep == pytest.approx(1.94, abs=0.01)


def test_the_cost_of_a_model_counts_its_matrices() -> None:
    import workbench as wb

    model = wb.load("zoo:attention")
    costs = model_costs(model)
    matrices = [p.numel() for p in model.layout.blocks[0].block.parameters() if p.dim() == 2]
    assert costs.layers == (sum(matrices),) * 4
    assert costs.sources == (2 * 128,) * 4
    assert costs.unembedding == 2048 * 128


def test_a_name_holds_all_that_a_result_depends_on() -> None:
    (survey,) = surveys(study()).values()
    prompt = survey.prompts[0].prompt_id
    zero = Edit(model="m", family="f", method={"kind": "zero"})
    mean = replace(zero, method={"kind": "mean", "source": "discover"})
    fewer = replace(survey, prompts=survey.prompts[:-1])
    name = UnitNames(survey).unit_id
    assert name(zero, prompt) == UnitNames(fewer).unit_id(zero, prompt)
    assert name(mean, prompt) != UnitNames(fewer).unit_id(mean, prompt)  # another mean
    for other in (replace(survey, digest="f" * 32), replace(survey, dtype="bfloat16")):
        assert name(zero, prompt) != UnitNames(other).unit_id(zero, prompt)
    assert name(zero, prompt) != name(replace(zero, positions="last"), prompt)
    assert name(zero, prompt) != name(zero, survey.prompts[1].prompt_id)
    assert name(zero, prompt) == name(replace(zero, family="g", round=3, control_of="L0H1"), prompt)


def test_means_over_a_group_depend_on_that_group_alone() -> None:
    prompts = [Prompt((number, 1), (0,), (1,), group="ab"[number % 2], split="discover") for number in range(6)]
    (survey,) = surveys(study()).values()
    mean = Edit(model="m", family="f", method={"kind": "mean", "source": "discover/a"})
    names = [
        UnitNames(replace(survey, prompts=tuple(chosen))).unit_id(mean, prompts[0].prompt_id)
        for chosen in (prompts, prompts[:5], prompts[:4])
    ]
    assert names[0] == names[1] != names[2]


def test_a_plan_counts_and_runs_nothing(tmp_path: Path) -> None:
    plan = plan_study(study(), tmp_path, calibrate=False, surveyor=surveyor())
    units = (LAYERS * HEADS + 1) * 6
    assert plan.units == units and plan.done == 0 and plan.seconds is None
    (model,) = plan.models
    # A pass is 3 layers of 100 and 50 to unembed, a token each, 8 tokens of which 1 is scored.
    whole, restarts = 8 * 350.0, [8 * 100.0 * (3 - layer) + 50.0 for layer in (0, 1, 2)]
    assert model.gain == pytest.approx(whole * units / (6 * (restarts[0] + HEADS * sum(restarts))))
    assert model.passes == pytest.approx(units / model.gain)
    assert "not measured" in plan.text() and "m = 12" in plan.text()
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["models"][0]["units"] == units and written["base"] == str(Path.cwd())
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def entry(**more: object) -> dict[str, object]:
    return {"name": "h", "sites": "heads", "method": "zero", **more}


@pytest.mark.parametrize(
    ("edits", "more", "says"),
    [
        (entry(), None, "m = 12; loss"),
        (entry(search={"kind": "greedy", "k": 3}), 11 + 10, "m = 12 in the first round, at most 33 in the end; loss"),
        (entry(search={"kind": "greedy", "k": 3}, controls={"draws": 9}), 21 + 9, ", and random controls, at most 30"),
        (entry(search="bisection", controls={"draws": 9}), 4 + 9, "m = 1 in the first round, at most 5 in the end"),
        (entry(controls={"draws": 2}), 24, "h: random controls, at most 24 more edits = 144 units"),
        (entry(method={"kind": "scale", "factor": [0.5, 2]}, controls={"draws": 2}), 48, "m = 24; loss"),
    ],
)
def test_a_plan_says_what_a_search_may_add_at_most(
    tmp_path: Path, edits: dict[str, object], more: int | None, says: str
) -> None:
    plan = plan_study(
        study(edits=[edits], metrics=["loss", "kl"]), tmp_path, calibrate=False, write=False, surveyor=surveyor()
    )
    assert [(later.edits, later.units) for later in plan.later] == ([] if more is None else [(more, 6 * more)])
    assert says in plan.text() and "a unit is one edit" in plan.text()
    assert "kl" not in plan.text()  # a distance is not tested


def test_what_a_search_of_a_users_own_may_add_is_not_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SEARCHES.find("greedy"), "bound", SearchKind.bound)
    edits = [entry(search={"kind": "greedy", "k": 3}, controls={"draws": 9})]
    plan = plan_study(study(edits=edits), tmp_path, calibrate=False, write=False, surveyor=surveyor())
    assert "(greedy), which depend on results, and random controls, how many is not known beforehand" in plan.text()
    assert "m = 12 in the first round, perhaps more in the end" in plan.text()


def test_a_plan_of_what_is_there_lists_its_units_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(study(), tmp_path, progress=False, surveyor=surveyor(), engine=Inline())
    listed = []
    monkeypatch.setattr(planner, "first_rounds", lambda *a, **b: listed.append(1) or first_rounds(*a, **b))
    assert plan_study(study(), tmp_path, calibrate=False, surveyor=surveyor()).done == 78 and len(listed) == 1


def test_a_plan_that_is_not_to_be_written_leaves_no_trace(tmp_path: Path) -> None:
    plan_study(study(), tmp_path / "none", calibrate=False, write=False, surveyor=surveyor())
    assert not (tmp_path / "none").exists()


def test_a_plan_of_a_changed_study_says_what_changes(tmp_path: Path) -> None:
    run_study(study(), tmp_path, progress=False, surveyor=surveyor(), engine=Inline())
    assert plan_study(study(), tmp_path, calibrate=False, surveyor=surveyor()).done == 78
    less = study(edits=[{"name": "heads", "sites": {"kind": "heads", "layers": [0]}, "method": "zero"}])
    plan = plan_study(less, tmp_path, calibrate=False, surveyor=surveyor(layers=1))
    assert plan.changes is not None and (plan.changes.dropped, plan.changes.kept, plan.changes.added) == (48, 30, 0)
    assert "edits.0.sites.layers" in plan.changes.sentence() and "run --replan" in plan.text()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"statistics": {"resamples": 100}}, r"100 resamples cannot find one true effect among 12 \(heads\).*to 960"),
        ({}, r"tested on 6 groups of prompts; one true effect among 12 \(heads\) needs at least 9"),
        ({}, "below 50, call it exploratory"),
        (
            {"edits": [{"name": "h", "sites": "heads", "method": "zero", "controls": {"draws": 9, "match": []}}]},
            "9 controls give no p below 0.1; draw at least 19",
        ),
        (
            {"edits": [{"name": "h", "sites": "heads", "method": "zero", "controls": {"draws": 99}}]},
            r"a single target in layer 0 of attention has 3 others .* p is at least 1/4",
        ),
        (
            {
                "inputs": {"task": "repetition", "count": 6, "split": {}},
                "edits": [{"name": "h", "sites": "heads", "method": {"kind": "mean", "source": "all"}}],
            },
            "replacements come from 'all', which overlaps the prompts that confirm",
        ),
        (
            {"edits": [{"name": "h", "sites": "heads", "method": "zero", "search": {"kind": "greedy", "k": 2}}]},
            "the search 'greedy' finds is judged on the very prompts",
        ),
    ],
)
def test_what_a_study_cannot_find_out_is_said(tmp_path: Path, changed: dict[str, object], sentence: str) -> None:
    import re

    plan = plan_study(study(**changed), tmp_path, calibrate=False, write=False, surveyor=surveyor())
    assert [warning for warning in plan.warnings if re.search(sentence, warning)], plan.warnings


def test_the_number_of_groups_asked_for_is_the_one_at_which_a_sign_flip_reaches_the_threshold() -> None:
    m, q = 270, 0.05
    needed = math.ceil(math.log2(2 * m / q))
    assert needed == 14  # as measured for all heads of SmolLM2
    assert 2 * 0.5**needed <= q / m < 2 * 0.5 ** (needed - 1)


def test_paths_that_lead_outside_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    inputs = {"prompts": "../secret.jsonl", "count": 3}
    with pytest.raises(InputError, match="outside the folder"):
        inputs_digest(study(inputs=inputs), tmp_path)


def test_ten_thousand_units_are_planned_run_and_resumed(tmp_path: Path) -> None:
    """The race ``study-listing`` times ten times as many."""
    options = study(inputs={"task": "repetition", "count": 10}, run={"batch_tokens": 2048})
    large = surveyor(layers=50, heads=20)
    plan = plan_study(options, tmp_path, calibrate=False, surveyor=large)
    assert plan.units == 10_010

    class Stopped(Inline):
        def outcomes(self, timeout_s: float):  # type: ignore[no-untyped-def]
            if len(self.ran) == 3:
                raise KeyboardInterrupt
            return super().outcomes(timeout_s)

    for _ in range(2):
        summary = run_study(options, tmp_path, progress=False, surveyor=large, engine=Stopped())
        assert summary.chunks == 3 and summary.coverage.planned == 10_010
    assert summary.coverage.pending == 10_010 - summary.coverage.done > 9_000
