"""A wheel holds every file of the rooms, and works without the tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .tree import LEFT_BEHIND, PROJECT, ROOMS, ROOT, files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools keeps a build folder in the source and ships whatever an earlier build left there.
    source = tmp_path_factory.mktemp("source")
    named = [PROJECT["project"]["readme"]] if "readme" in PROJECT["project"] else []
    for name in ("pyproject.toml", "setup.py", "LICENSE", *named):
        shutil.copy(ROOT / name, source)
    for folder in ROOMS.values():
        shutil.copytree(folder, source / folder.name, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    target = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(target), str(source)], check=True, stdin=subprocess.DEVNULL)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.mark.parametrize("room", ROOMS)
def test_wheel_holds_every_file_of_the_room(wheel: Path, room: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    folder = room.replace(".", "/")
    wanted = {f"{folder}/{path.relative_to(ROOMS[room]).as_posix()}" for path in files(room)}
    assert sorted(wanted - held) == [], (
        "These files are not in the wheel. A folder of modules needs an __init__.py; a data file needs a pattern in "
        "[tool.setuptools.package-data]."
    )


def test_wheel_has_no_top_level_name_but_workbench(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"workbench"}


def test_wheel_names_the_command_and_the_licence(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info")
    assert "workbench = workbench.cli:main" in (metadata / "entry_points.txt").read_text()
    assert (metadata / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_rooms_import_from_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    code = f"import importlib\nfor room in {list(ROOMS)!r}: print(importlib.import_module(room).__file__)"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split() == [str(installed.joinpath(*room.split("."), "__init__.py")) for room in ROOMS]
