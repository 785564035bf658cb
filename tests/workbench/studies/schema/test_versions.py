"""Files of earlier versions are brought to the present one step by step."""

import pytest

from workbench.errors import InputError
from workbench.studies.schema.versions import migrated


def renamed(given):
    return {("models" if key == "model" else key): value for key, value in given.items()}


def listed(given):
    return {**given, "models": [given["models"]]}


STEPS = {1: renamed, 2: listed}


def test_every_step_from_the_files_version_on_is_taken():
    assert migrated({"version": 1, "model": "a"}, 3, STEPS) == ({"version": 3, "models": ["a"]}, 1)
    assert migrated({"version": 2, "models": "a"}, 3, STEPS) == ({"version": 3, "models": ["a"]}, 2)


@pytest.mark.parametrize("given", [{"version": 3, "model": "a"}, {"model": "a"}, {"version": "x"}, {"version": True}])
def test_the_present_version_no_version_and_what_is_no_version_are_left_alone(given):
    assert migrated(given, 3, STEPS) == (given, 3)


def test_a_later_version_says_what_to_do():
    with pytest.raises(InputError, match=r"version 4, and this workbench reads version 3; .*--upgrade"):
        migrated({"version": 4}, 3, STEPS)


def test_a_version_that_nothing_leads_on_from_names_those_that_are_known():
    with pytest.raises(InputError, match="no way from version 0 to 3; known: 1, 2, 3"):
        migrated({"version": 0}, 3, STEPS)
