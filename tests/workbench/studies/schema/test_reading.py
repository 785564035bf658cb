"""A study file is read, or every mistake in it is said at once: file, line, place, and what would be right."""

import textwrap

import pytest

from workbench.errors import InputError
from workbench.studies.schema.reading import changed_study, dotted, read_study
from workbench.studies.schema.study import Study, TaskInputs, TextInputs

GOOD = """\
version: 1
name: heads
models: zoo:attention
inputs: {task: repetition, count: 8}
edits:
  - name: all
    sites: heads
    method: zero
metrics: [loss]
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "study.yaml"


@pytest.fixture
def mistakes(file):
    """The lines that refuse a study, without the file's name: ``"4: inputs.count: ..."``."""

    def read(text, *overrides):
        file.write_text(textwrap.dedent(text))
        with pytest.raises(InputError) as refused:
            read_study(file, overrides)
        lines = str(refused.value).splitlines()
        if len(lines) > 1:
            assert lines.pop(0) == f"{len(lines)} mistakes in {file}:"
        return [line.removeprefix(f"{file}:") for line in lines]

    return read


def swapped(old, new, text=GOOD):
    assert old in text
    return text.replace(old, new)


def test_a_study_is_what_its_file_says(file):
    file.write_text(GOOD)
    study = read_study(file)
    assert isinstance(study, Study) and study.name == "heads" and study.inputs == TaskInputs(task="repetition", count=8)
    assert [(model.id, model.label) for model in study.models] == [("zoo:attention", "attention")]
    (entry,) = study.edits
    assert [type(part).word for part in (entry.sites, entry.method, entry.search)] == ["heads", "zero", "each"]
    assert [metric.name for metric in study.metrics] == ["loss"] and study.run.workers == 1


def test_overrides_are_in_the_study_that_is_read_and_in_no_file(file):
    file.write_text(GOOD)
    study = read_study(str(file), ["run.workers=2", "edits.0.sites.layers=[1]", "models.0.dtype=float64", "seed=7"])
    assert (study.run.workers, study.edits[0].sites.layers, study.models[0].dtype, study.seed) == (2, [1], "float64", 7)
    assert file.read_text() == GOOD
    assert changed_study(study, ["seed=8"], "it").seed == 8 and changed_study(study, [], "it") is study


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "count: 8",
            "cuont: 8",
            ["4: inputs.cuont: the key is unknown; nearest: count (others: split, task, settings"],
        ),
        ("metrics:", "metrisc:", ["9: metrisc: the key is unknown; nearest: metrics (others: version, "]),
        ("models:", "model:", ["3: model: the key is unknown; nearest: models"]),
        (
            "inputs: {task: repetition, count: 8}",
            "task: repetition",
            ["4: task: the key is unknown here; it belongs under"],
        ),
        ("zoo:attention", "zoo:atention", ["3: models: the zoo has no member 'atention'; nearest: attention"]),
        ("sites: heads", "sites: [L0H0, 3]", ["7: edits[0].sites"]),
        (
            "method: zero",
            "method: {kind: zero, by: 3}",
            ["8: edits[0].method.by: the key is unknown; there are no options here."],
        ),
        (
            "  - name: all",
            "    name: all",
            ["5: edits: a list is needed, not a mapping of keys; a dash begins each item, as in"],
        ),
        ("count: 8", "count: '8'", ["4: inputs.count: a whole number is needed, not '8'; write 8 without quotes."]),
        ("count: 8", "count: 0", ["4: inputs.count: 0 is out of range; at least 1."]),
        ("count: 8", "count: 8.5", ["4: inputs.count: a whole number is needed, not 8.5."]),
        ("count: 8", "count: 1e1", ["4: inputs.count: 1e1 is a number to some YAML and text to other; write 1.0e+1"]),
        ("name: heads", "name: 12", ['2: name: text is needed, not 12; write "12".']),
        ("name: heads", "name: true", ['2: name: text is needed, not true; write "true".']),
        ("name: heads", "name: ../up", ["2: name: '../up' is no name: letters, digits, _ . -"]),
        ("version: 1", "version: 9", ["1: version: the file is of version 9, and this workbench reads version 1;"]),
        ("models: zoo:attention", "models: []", ["3: models: it is empty."]),
        ("models: zoo:attention", "models: [zoo:gru, zoo:gru]", ["3: models[1]: two models are called 'gru';"]),
        (
            "models: zoo:attention",
            "models: {id: x, dtype: int8}",
            ["3: models.dtype: 'int8' is not among the choices; there is: float32, float64, bfloat16, float16."],
        ),
        (
            "models: zoo:attention",
            "models: [{id: x, device_map: 3}]",
            ["3: models[0].device_map: text or a mapping of keys is needed, not 3."],
        ),
        ("sites: heads", "sites: haeds", ["7: edits[0].sites: no kind of site is called 'haeds'; "]),
        ("sites: heads", "sites:", ["7: edits[0].sites: a kind of site is needed: its word, or a mapping with kind:"]),
        (
            "sites: heads",
            "sites: {kind: heads, layer: 1}",
            ["7: edits[0].sites.layer: the key is unknown; nearest: layers"],
        ),
        (
            "sites: heads",
            "sites: {kind: heads, layers: [0, a]}",
            ["7: edits[0].sites.layers[1]: a whole number is needed, not 'a'."],
        ),
        (
            "sites: heads",
            "sites: {kind: heads, layers: some}",
            ["7: edits[0].sites.layers: all or a list is needed, not 'some'."],
        ),
        ("method: zero", "method: zeros", ["8: edits[0].method: no method is called 'zeros'; "]),
        ("    method: zero\n", "", ["6: edits[0].method: the key is missing."]),
        (
            "    method: zero\n",
            "    method: zero\n    metric: los\n",
            ["9: edits[0].metric: the study does not measure 'los'; there is: loss."],
        ),
        (
            "    method: zero\n",
            "    method: zero\n    models: [gru]\n",
            ["9: edits[0].models[0]: no model of the study is called 'gru'; there is: attention."],
        ),
        (
            "    method: zero\n",
            "    method: zero\n    positions: lats\n",
            ["9: edits[0].positions: scored, last or a list is needed, not 'lats'."],
        ),
        ("metrics: [loss]", "metrics: [loss, loss]", ["9: metrics[1]: the metric loss is listed twice."]),
        (
            "metrics: [loss]",
            "metrics: [loss]\nworkers: 2",
            ["10: workers: the key is unknown here; it belongs under run:."],
        ),
        (
            "metrics: [loss]",
            "metrics: [loss]\nrun: {engine: rya}",
            ["10: run.engine: 'rya' is not among the choices; there is: local, ray."],
        ),
        (
            "metrics: [loss]",
            "metrics: [loss]\nrun: 3",
            ["10: run: a mapping of keys is needed, not 3 (keys: engine, workers,"],
        ),
        (
            "metrics: [loss]",
            "metrics: [loss]\nstatistics: {level: 1}",
            ["10: statistics.level: 1 is out of range; less than 1."],
        ),
        (
            "metrics: [loss]",
            "metrics: [loss]\nname: b",
            ["10: name: the key stands here for a second time; first on line 2."],
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_its_place_and_what_would_be_right(mistakes, old, new, says):
    found = mistakes(swapped(old, new))
    assert len(found) == len(says)
    for line, start in zip(found, says, strict=True):
        assert line.startswith(start) and line.endswith("."), line


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file(mistakes):
    found = mistakes("""\
        name: a b
        models: [zoo:gru, {idd: x}]
        inputs: {text: t.txt, length: no}
        edits:
          - {name: x, sites: heads, method: zero, controls: {draws: 0, macth: [layer]}}
          - {name: x, sites: nothing, method: zero}
        metrics: [lossy]
        run:
          threads: 010
        """)
    places = [line.split(": ")[0] + " " + line.split(": ")[1] for line in found]
    assert places == [
        "1 name",
        "2 models[1].idd",
        "3 inputs.length",
        "5 edits[0].controls.draws",
        "5 edits[0].controls.macth",
        "6 edits[1].sites",
        "7 metrics[0]",
        "9 run.threads",
    ]


def test_a_key_that_was_misspelled_is_one_mistake_and_a_key_that_is_missing_another(mistakes):
    assert mistakes(swapped("metrics", "metrisc")) and len(mistakes(swapped("metrics: [loss]\n", ""))) == 1
    assert [line.split()[1] for line in mistakes(swapped("metrics: [loss]", "colour: red"))] == ["metrics:", "colour:"]


def test_the_keys_that_are_offered_are_those_of_the_inputs_that_were_begun(mistakes):
    (said,) = mistakes(swapped("{task: repetition, count: 8}", "{text: a.txt, lenght: 9}"))
    assert said == "4: inputs.lenght: the key is unknown; nearest: length (others: count, split, text)."


def test_two_entries_of_one_name_are_a_mistake_of_the_second(mistakes):
    text = GOOD.replace("metrics", "  - {name: all, sites: heads, method: zero}\nmetrics")
    assert mistakes(text) == ["9: edits[1].name: two entries of edits are called 'all'."]


@pytest.mark.parametrize("name", ["baseline", "corrupt"])
def test_no_entry_is_called_what_unedited_runs_are(mistakes, name):
    text = GOOD.replace("metrics", f"  - {{name: {name}, sites: heads, method: zero}}\nmetrics")
    assert mistakes(text) == [f"9: edits[1].name: {name!r} is what the unedited run is called; choose another name."]


def test_a_mistake_of_an_override_names_the_override_and_no_line(mistakes):
    assert mistakes(GOOD, "inputs.count=none", "edits.0.sites.layer=3") == [
        "--set inputs.count=none: inputs.count: a whole number is needed, not 'none'.",
        "--set edits.0.sites.layer=3: edits[0].sites.layer: the key is unknown; nearest: layers "
        + found_others(mistakes, GOOD),
    ]


def found_others(mistakes, text):
    """What else a site of heads can be given, from the message about another wrong key."""
    (line,) = mistakes(text, "edits.0.sites.layerss=3")
    return line.partition("nearest: layers ")[2]


def test_paths_of_texts_lead_nowhere_outside_the_folder(file, mistakes):
    inputs = "inputs: {task: repetition, count: 8}"
    (said,) = mistakes(swapped(inputs, "inputs: {text: ../secret.txt}"))
    assert said.startswith("4: inputs.text: the path ../secret.txt leads to") and "outside the folder" in said
    (said,) = mistakes(swapped(inputs, "inputs: {prompts: /etc/passwd}"))
    assert said.startswith("4: inputs.prompts: the path /etc/passwd is absolute")
    (file.parent / "link").symlink_to("/etc")
    (said,) = mistakes(swapped(inputs, "inputs: {text: link/passwd}"))
    assert "leads to /etc/passwd, outside the folder" in said
    file.write_text(swapped(inputs, "inputs: {text: data/a.txt}"))
    inputs = read_study(file).inputs
    assert isinstance(inputs, TextInputs) and inputs.text.as_posix() == "data/a.txt"


def test_files_that_hold_no_study(file, mistakes, tmp_path):
    assert "holds nothing" in mistakes("")[0]
    assert "holds nothing" in mistakes("# only a remark\n")[0]
    assert "a study is a mapping of keys: name:" in mistakes("- a\n")[0]
    assert mistakes("a: [\n")[0].startswith("2: this is no YAML")
    for path, says in [(tmp_path / "none.yaml", "There is no study file"), (tmp_path, "is a folder")]:
        with pytest.raises(InputError, match=says):
            read_study(path)
    file.write_bytes(b"name: \xff\n")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_study(file)


def test_python_is_not_run_by_reading_it(tmp_path):
    (tmp_path / "study.py").write_text("raise SystemExit(3)")
    with pytest.raises(InputError, match="--trust-python"):
        read_study(tmp_path / "study.py")


def test_places_are_written_as_people_write_them():
    assert dotted(("edits", 0, "sites", "layers")) == "edits[0].sites.layers" and dotted(()) == ""
