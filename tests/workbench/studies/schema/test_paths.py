"""A study reads nothing outside the folder of its file."""

from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.studies.schema.paths import inside


@pytest.fixture
def home(tmp_path):
    (tmp_path / "secret").write_text("")
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "home" / "data" / "text.txt").write_text("")
    (tmp_path / "home" / "out").symlink_to(tmp_path)
    (tmp_path / "home" / "within").symlink_to(tmp_path / "home" / "data")
    (tmp_path / "alias").symlink_to(tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("path", ["data/text.txt", "data/../data/text.txt", "within/text.txt", "not/there", "."])
def test_what_lies_inside_is_resolved(home, path):
    assert inside(home, Path(path)) == (home / path).resolve()


def test_the_folder_itself_may_be_reached_by_a_link(home):
    assert inside(home.parent / "alias", Path("data/text.txt")) == home / "data" / "text.txt"


@pytest.mark.parametrize("path", ["../secret", "data/../../secret", "out/secret", "out/home/../secret"])
def test_what_leads_outside_is_refused_links_included(home, path):
    with pytest.raises(InputError, match="outside the folder of the study file") as refused:
        inside(home, Path(path))
    assert str(home) in str(refused.value)


def test_absolute_paths_are_refused_even_of_what_lies_inside(home):
    with pytest.raises(InputError, match="is absolute"):
        inside(home, home / "data" / "text.txt")


def test_a_path_that_no_system_has_is_refused(home):
    with pytest.raises(InputError, match="no path"):
        inside(home, Path("a\0b"))
