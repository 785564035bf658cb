"""A study that a Python file builds: run only where asked for, and taken from its ``study``."""

import sys

import pytest

from workbench.errors import InputError
from workbench.studies import Study
from workbench.studies.schema.python_file import python_study

CODE = """\
from workbench.studies import EditsEntry, METRICS, MetricKind, ModelEntry, Study, TaskInputs


@METRICS.register("{word}")
class Constant(MetricKind):
    value: float = 1.0

    def measure(self, logits, baseline, prompt):
        return self.value


study = Study(
    name="built",
    models=[ModelEntry(id="zoo:gru")],
    inputs=TaskInputs(task="repetition"),
    edits=[EditsEntry(name="heads", sites="heads", method="zero")],
    metrics=["loss", Constant(value=2.0)],
)
"""


@pytest.fixture(autouse=True)
def _paths_as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_the_study_is_taken_with_the_kinds_that_its_file_defines(tmp_path):
    (tmp_path / "study_of_constants.py").write_text(CODE.format(word="constant_of_a_file"))
    study = python_study(tmp_path / "study_of_constants.py", ["run.workers=3", "metrics.1.value=4.0"])
    assert isinstance(study, Study) and study.run.workers == 3
    assert [metric.name for metric in study.metrics] == ["loss", "constant_of_a_file[value=4.0]"]
    # A worker imports the module by its name.
    assert type(study.metrics[1]).__module__ == "study_of_constants" and str(tmp_path) in sys.path


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("no_study_in_it", "x = 1", "a variable called study is looked for, and the file has none"),
        ("study_of_a_wrong_type", "study = {}", "has one of type dict"),
        ("study-with-a-dash", "study = {}", "give the file another name"),
        ("random", "study = {}", "give the file another name"),
        ("pytest", "study = {}", "is loaded already"),
        ("study_with_a_mistake", CODE.format(word="b").replace('"zero"', '"zeero"'), "no method is called"),
    ],
)
def test_files_that_build_no_study_are_one_sentence(tmp_path, name, code, says):
    file = tmp_path / f"{name}.py"
    file.write_text(code)
    with pytest.raises(InputError) as refused:
        python_study(file)
    assert says in str(refused.value) and str(file) in str(refused.value)


def test_what_the_files_own_code_raises_comes_through_and_leaves_no_half_module(tmp_path):
    (tmp_path / "study_that_divides.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        python_study(tmp_path / "study_that_divides.py")
    assert "study_that_divides" not in sys.modules
    with pytest.raises(InputError, match="There is no study file"):
        python_study(tmp_path / "missing.py")
