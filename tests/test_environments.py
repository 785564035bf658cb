import sys
from pathlib import Path
from typing import Any

import pytest

from tests import environments


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be run; the environment appears as a folder, and nothing is installed."""
    run: list[list[str]] = []

    def pretend(command: list[Any], **_: Any) -> None:
        run.append([str(part) for part in command])
        if "venv" in run[-1]:
            packages = Path(
                environments.sysconfig.get_path("purelib", vars={"base": run[-1][-1], "platbase": run[-1][-1]})
            )
            packages.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments.subprocess, "run", pretend)
    return run


def test_an_environment_is_made_once_for_the_same_packages(commands: list[list[str]], tmp_path: Path) -> None:
    python = environments.overlay("some", ["left==1", "right==2"], ["--no-build-isolation"])
    assert python == tmp_path / "some" / "bin" / "python"
    made, installed = commands
    assert made[0] == sys.executable and made[1:3] == ["-m", "venv"]
    assert installed[-3:] == ["--no-build-isolation", "left==1", "right==2"] and "--no-deps" in installed
    (shared,) = (tmp_path / "some").rglob("shared.pth")
    assert environments.sysconfig.get_path("purelib") in shared.read_text()
    assert environments.overlay("some", ["left==1", "right==2"]) == python and len(commands) == 2
    environments.overlay("some", ["left==1", "right==3"])
    assert len(commands) == 4


def test_an_environment_that_could_not_be_filled_is_made_anew(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend = environments.subprocess.run

    def failing(command: list[Any], **options: Any) -> None:
        pretend(command, **options)
        if "install" in command:
            raise environments.subprocess.CalledProcessError(1, command, stderr="no network")

    monkeypatch.setattr(environments.subprocess, "run", failing)
    with pytest.raises(environments.subprocess.CalledProcessError) as failed:
        environments.overlay("some", ["left==1"])
    assert failed.value.__notes__ == ["no network"]
    monkeypatch.setattr(environments.subprocess, "run", pretend)
    environments.overlay("some", ["left==1"])
    assert len(commands) == 4
