"""What makes two edits one, and kinds that come back from JSON as they were."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.interventions import SteeringVector
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.files import content_digest, located
from workbench.studies.edits.method import METHODS
from workbench.studies.edits.site import SITES, Target
from workbench.studies.schema.study import Study

HEADS = [Target(f"L{layer}H{head}", f"L{layer}H{head}", layer) for layer in range(3) for head in range(3)]
NUMBERS = st.floats(-5, 5).filter(lambda number: number == 0 or abs(number) > 1e-3)
DOSES = st.lists(NUMBERS, min_size=1, max_size=4)
METHOD = st.one_of(
    st.sampled_from([{"kind": "zero"}, {"kind": "patch"}, {"kind": "mean", "per_position": True}, {"kind": "cut"}]),
    st.builds(lambda draw: {"kind": "resample", "draw": draw}, st.integers(0, 9)),
    st.builds(lambda doses: {"kind": "scale", "factor": doses}, DOSES),
    st.builds(lambda doses, kind: {"kind": kind, "value": doses}, DOSES, st.sampled_from(["fix", "add"])),
    st.builds(lambda doses: {"kind": "steer", "toward": "a", "away": "b", "alpha": doses}, DOSES),
)


def edit(targets, method="zero", **more):
    site = SITES.parse("heads").binder().canonical()
    return Edit("m", "e", tuple(targets), site, METHODS.parse(method).canonical(), **more)


def test_the_order_of_targets_and_their_labels_make_no_other_edit():
    first = edit(HEADS[:3])
    renamed = [dataclasses.replace(one, label=f"head {one.label}", size=7) for one in HEADS[2::-1]]
    assert edit(renamed).edit_id == first.edit_id
    assert edit(HEADS[:3], round=4, control_of="x").edit_id == first.edit_id


def test_whatever_changes_the_result_makes_another_edit():
    different = [
        edit(HEADS[:3]),
        edit(HEADS[:2]),
        edit(HEADS[:3], "patch"),
        edit(HEADS[:3], {"kind": "fix", "value": 0.0}),
        edit(HEADS[:3], {"kind": "fix", "value": 1.0}),
        edit(HEADS[:3], positions="last"),
        edit(HEADS[:3], positions=(3,)),
        edit(HEADS[:3], seed=1),
        edit(HEADS[:1]),
        edit([dataclasses.replace(HEADS[0], heads=(1,))]),
        edit([dataclasses.replace(HEADS[0], units=(1,))]),
        edit([dataclasses.replace(HEADS[0], more={"keys": [1]})]),
    ]
    assert len({one.edit_id for one in different}) == len(different)


def test_a_head_is_the_same_edit_whichever_kind_of_site_named_it(zoo):
    model = zoo("attention")
    ids = set()
    for given_site in ("heads", {"kind": "heads", "layers": [1]}, ["L1H2", "L0.mlp"]):
        kind = SITES.parse(given_site)
        (target,) = (one for one in kind.targets(model) if one.label == "L1H2")
        ids.add(Edit("m", "e", (target,), kind.binder().canonical(), METHODS.parse("zero").canonical()).edit_id)
    assert len(ids) == 1


@given(METHOD)
@settings(deadline=None)
def test_methods_come_back_from_json_and_their_doses_are_all_they_are(given_method):
    method = METHODS.parse(given_method)
    again = METHODS.parse(json.loads(json.dumps(method.canonical())))
    assert again == method
    option = next((name for name in ("factor", "value", "alpha") if name in given_method), None)
    doses = method.doses()
    assert [dose for dose, _ in doses] == (list(dict.fromkeys(map(float, given_method[option]))) if option else [])
    for dose, one in doses:
        assert one.canonical() == {**method.canonical(), option: dose}
        assert [again for again, _ in one.doses()] == [dose]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"kind": "steer"}, "a direction is a file, or two groups"),
        ({"kind": "steer", "toward": "a"}, "a direction is a file, or two groups"),
        ({"kind": "noise", "deviations": -1.0}, "greater than 0"),
        ({"kind": "fix", "value": float("nan")}, "finite number"),
        ({"kind": "resample", "draw": -1}, "greater than or equal to 0"),
        ({"kind": "zero", "per_position": True}, "Extra inputs"),
    ],
)
def test_options_that_make_no_sense_are_refused(method, said):
    with pytest.raises(ValueError, match=said):
        METHODS.parse(method)


def study_of(method):
    edits = [{"name": "steered", "sites": {"kind": "hooks", "at": "resid_post"}, "method": method}]
    return Study.model_validate(
        {
            "name": "made-up",
            "models": ["zoo:attention"],
            "inputs": {"task": "copying"},
            "edits": edits,
            "metrics": ["loss"],
        }
    )


def test_files_are_told_by_what_they_hold_and_not_by_where_they_lie(tmp_path):
    for folder, scale in (("here", 1.0), ("there", 1.0), ("other", 2.0)):
        vector = SteeringVector({"blocks.1.hook_resid_post": scale * torch.arange(1.0, 129.0)}, "zoo:attention")
        vector.save(tmp_path / folder / "v.safetensors")
    study = study_of({"kind": "steer", "file": "v.safetensors"})
    found = {name: located(study, tmp_path / name).edits[0].method for name in ("here", "there", "other")}
    ids = {name: Edit("m", "e", (HEADS[0],), None, method.canonical()).edit_id for name, method in found.items()}
    assert ids["here"] == ids["there"] != ids["other"]
    assert found["here"].canonical()["file"] == str(tmp_path / "here" / "v.safetensors")
    # Once found it stays found, wherever it is asked for.
    assert located(located(study, tmp_path / "here"), tmp_path) == located(study, tmp_path / "here")


def test_files_that_are_missing_outside_or_changed_are_refused(tmp_path):
    (tmp_path / "study").mkdir()
    SteeringVector({"blocks.1.hook_resid_post": torch.ones(128)}, "zoo:attention").save(tmp_path / "v.safetensors")
    with pytest.raises(InputError, match=r"There is no v\.safetensors"):
        located(study_of({"kind": "steer", "file": "v.safetensors"}), tmp_path / "study")
    with pytest.raises(InputError, match="outside the folder"):
        located(study_of({"kind": "steer", "file": "../v.safetensors"}), tmp_path / "study")
    known = content_digest(tmp_path / "v.safetensors")
    located(study_of({"kind": "steer", "file": "v.safetensors", "digest": known}), tmp_path)
    with pytest.raises(InputError, match="has changed"):
        located(study_of({"kind": "steer", "file": "v.safetensors", "digest": "0" * 32}), tmp_path)


def test_a_folder_s_digest_is_of_names_and_contents(tmp_path):
    digests = []
    for name, content in (("a", "1"), ("a", "2"), ("b", "1")):
        folder = tmp_path / f"{name}{content}"
        folder.mkdir()
        (folder / name).write_text(content)
        digests.append(content_digest(folder))
    assert len(set(digests)) == 3
