import importlib.metadata
import subprocess
import types

import pytest
import torch

from benchmarks import peers, setting
from benchmarks.race import CannotMeasure, Race
from benchmarks.races.registry import all_races


@pytest.mark.parametrize("race", [race for race in all_races() if race.environment], ids=lambda race: race.name)
def test_an_environment_of_a_race_exists_and_pins_what_it_holds(race: Race) -> None:
    pinned = peers.versions(race.environment)
    assert pinned and all(version[0].isdigit() for version in pinned.values())


def test_a_setting_has_the_versions_of_the_environment_the_race_runs_in() -> None:
    race = Race(name="x", title="x", shapes="", contestants=(), environment="ssm-hooks", threads=2)
    here = setting.current(race)
    assert here.versions["transformers"] == "5.9.0" != importlib.metadata.version("transformers")
    assert here.versions["torch"] == importlib.metadata.version("torch")
    assert (here.machine.threads, setting.current(race, 1).machine.threads) == (2, 1)


def test_what_pip_says_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, wanted: object, options: object) -> None:
        raise subprocess.CalledProcessError(1, "pip", stderr="Collecting fla-core\nERROR: no network\n")

    monkeypatch.setattr(peers, "_environments", lambda: types.SimpleNamespace(overlay=refuse))
    with pytest.raises(CannotMeasure, match=r"pip cannot install .*fla-core.* here: ERROR: no network"):
        peers.interpreter("fla")


def test_a_peer_that_is_not_installed_is_a_reason_and_not_an_error() -> None:
    with pytest.raises(CannotMeasure, match="its scan needs no_such_package, which cannot be imported here"):
        peers.load("no_such_package", "its scan")
    assert peers.load("torch", "ours") is torch
