"""What is written of a study reads back as the same study, whatever its texts look like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packaging.tree import ROOT
from workbench.studies.schema.reading import read_study
from workbench.studies.schema.study import Study
from workbench.studies.schema.writing import study_text, yaml_text
from workbench.studies.schema.yaml_text import read_yaml

CLEAN = st.characters(exclude_categories=["Cs"])
TRICKY = st.sampled_from(
    [
        *("", "1e-3", "no", "Off", "010", "2026-11-22", "12:30", "~", "null", "<<", "=", "- a", "a: b", "a #b", "&x"),
        *("!t", "'", '"', " a ", "a\n b\n", "\t", "é\x85\u2028", "...", "---", "{a}", "%d", "@x", "1_0", ".inf", "*x"),
    ]
)
TEXT = TRICKY | st.text(CLEAN, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PLAIN = Study(
    name="a",
    models="zoo:gru",
    inputs={"task": "repetition"},
    edits=[{"name": "x", "sites": "heads", "method": "zero"}],
    metrics=["loss"],
)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_plain_values_read_back_as_they_were(value):
    document = read_yaml(yaml_text(value))
    assert document.problems == []
    assert repr(document.value) == repr(value) if value else document.value == value


LABELS = ["one", "two.b", "3"]
FILES = st.from_regex(r"[a-z0-9][a-z0-9 ]{0,6}[a-z](/[a-z0-9]{1,4})?", fullmatch=True)
SPLIT = st.none() | st.fixed_dictionaries({"discover": st.floats(0.01, 0.99)})
MODELS = st.lists(
    st.fixed_dictionaries({"id": TEXT.filter(bool), "revision": st.none() | TEXT}), min_size=1, max_size=3
).map(lambda models: [{**model, "name": label} for model, label in zip(models, LABELS, strict=False)])
INPUTS = st.one_of(
    st.fixed_dictionaries(
        {
            "task": st.just("repetition"),
            "settings": st.fixed_dictionaries({}, optional={"unit": JSON, "bos": JSON}),
            "split": SPLIT,
        }
    ),
    st.fixed_dictionaries({"text": FILES, "length": st.integers(2, 99), "split": SPLIT}),
    st.fixed_dictionaries({"prompts": FILES, "count": st.integers(1, 99)}),
)
LAYERS = st.just("all") | st.lists(st.integers(0, 40), min_size=1, max_size=3)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "name": NAMES,
            "sites": LAYERS.map(lambda layers: {"kind": "heads", "layers": layers}),
            "method": st.sampled_from(["zero", "mean", {"kind": "mean"}]),
            "positions": st.sampled_from([None, "scored", "last", [0, -1]]),
            "controls": st.none() | st.fixed_dictionaries({"draws": st.integers(1, 500)}),
            "models": st.sampled_from([None, LABELS[:1]]),
        }
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda entry: entry["name"],
)
STUDIES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "question": TEXT,
        "seed": st.integers(0, 2**60),
        "models": MODELS,
        "inputs": INPUTS,
        "edits": ENTRIES,
        "metrics": st.sampled_from([["loss"], ["kl", "loss"]]),
        "statistics": st.fixed_dictionaries({"level": st.floats(0.5, 0.999), "q": st.floats(1e-9, 0.5)}),
        "run": st.fixed_dictionaries({"workers": st.integers(1, 9), "address": st.none() | TEXT}),
    }
)


@settings(max_examples=30, deadline=None)
@given(STUDIES)
def test_a_study_reads_back_equal(tmp_path_factory, values):
    study = Study.model_validate(values)
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_text(study_text(study), encoding="utf-8")
    again = read_study(file)
    assert again == study and study_text(again) == study_text(study)
    assert again.model_dump(mode="json") == study.model_dump(mode="json")
    file.write_text(study_text(study, defaults=False), encoding="utf-8")
    assert read_study(file).model_dump(mode="json") == study.model_dump(mode="json")


def test_defaults_are_written_out_where_they_are_asked_for():
    text = study_text(PLAIN)
    assert "workers: 1" in text and "kind: each" in text and "resamples: 10000" in text


def test_without_defaults_a_study_is_as_short_as_people_write_it():
    assert study_text(PLAIN, defaults=False) == (
        "version: 1\nname: a\nmodels:\n- id: zoo:gru\ninputs:\n  task: repetition\n"
        "edits:\n- name: x\n  sites: heads\n  method: zero\nmetrics:\n- loss\n"
    )


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_ready_studies_read_back_without_their_defaults(file, tmp_path):
    study = read_study(file)
    text = study_text(study, defaults=False)
    assert "null" not in text.replace("depth: null", "") and len(text.splitlines()) < len(
        study_text(study).splitlines()
    )
    (tmp_path / "short.yaml").write_text(text, encoding="utf-8")
    assert read_study(tmp_path / "short.yaml") == study
