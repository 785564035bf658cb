"""Labels: who may replace whose, what the history keeps, files, and readers beside a writer."""

import json
import threading

import pytest

from workbench.errors import InputError
from workbench.saes import LabelStore

HOSTILE = '<script>alert("x")</script>, \x1b[31mred\x00\r\n\u202eבית\u200b "quoted", \'single\''


@pytest.fixture
def labels(tmp_path):
    return LabelStore(tmp_path / "labels.sqlite", 10)


def test_a_persons_label_stays_and_the_history_keeps_all(labels):
    assert labels.get(3) is None and len(labels) == 0 and labels.table().empty
    assert labels.set(3, "first guess", "auto", author="tokens", detection=0.75, fuzzing=0.5)
    assert labels.set(3, HOSTILE)
    assert not labels.set(3, "second guess", "auto")
    assert labels.get(3).label == HOSTILE and labels.get(3).source == "human" and labels.get(3).detection is None
    labels.remove(3)
    assert labels.get(3) is None
    history = labels.history(3)
    assert [None if label != label else label for label in history["label"]] == [None, HOSTILE, "first guess"]
    assert history["detection"].tolist()[2] == 0.75
    with pytest.raises(InputError, match="Feature 3 has no label"):
        labels.remove(3)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_files_bring_labels_back_exactly(labels, tmp_path, kind):
    labels.set(1, HOSTILE)
    labels.set(2, "guess", "auto", author="tokens", detection=0.5, fuzzing=1.0)
    labels.export(tmp_path / f"out.{kind}")
    again = LabelStore(tmp_path / "again.sqlite", 10)
    assert again.load(tmp_path / f"out.{kind}") == 2
    assert again.table().drop(columns="changed").equals(labels.table().drop(columns="changed"))
    assert again.get(1).label == HOSTILE


def test_what_is_no_label_is_refused_and_nothing_of_the_file_is_taken(labels, tmp_path):
    for call, message in [
        (lambda: labels.set(10, "x"), "There is no feature 10; they go from 0 to 9"),
        (lambda: labels.set(1, "  "), "label of feature 1 is empty"),
        (lambda: labels.set(1, "x", "robot"), "source is 'robot'"),
        (lambda: labels.export(tmp_path / "labels.txt"), "written as .json or .csv"),
        (lambda: labels.load(tmp_path / "none.json"), "cannot be read"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    file = tmp_path / "rows.json"
    for rows, message in [
        ([{"feature": 1, "label": "good"}, {"feature": 2}], "a row that is no label"),
        ([{"feature": 1, "label": "good"}, {"feature": 99, "label": "far"}], "no feature 99"),
        ([{"feature": 1, "label": "good"}, {"feature": 2, "label": " "}], "is empty"),
        ({"feature": 1}, "no list of labels"),
    ]:
        file.write_text(json.dumps(rows))
        with pytest.raises(InputError, match=message):
            labels.load(file)
    file.write_text("{")
    with pytest.raises(InputError, match="no valid JSON"):
        labels.load(file)
    assert len(labels) == 0


def test_many_write_while_others_read(labels):
    labels.set(0, "start")
    failures = []

    def write(feature):
        try:
            for number in range(10):
                labels.set(feature, f"label {number}")
                assert labels.get(feature).label == f"label {number}"
                assert len(labels.table()) >= 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(feature,)) for feature in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(labels) == 5 and all(len(labels.history(feature)) == 10 for feature in range(1, 5))
