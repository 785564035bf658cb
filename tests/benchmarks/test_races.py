import sys
from pathlib import Path

import pytest

from benchmarks import ROOT, setting, store
from benchmarks.race import Race
from benchmarks.races.registry import all_races, race_named


def test_the_root_is_off_the_import_path() -> None:
    # There transformers would take our folder kernels/ for the package of that name.
    assert ROOT not in [Path(entry or ".").resolve() for entry in sys.path]


def test_row_names_are_unique_and_found() -> None:
    names = [race.name for race in all_races()]
    assert len(set(names)) == len(names)
    assert [race_named(name).name for name in names] == names
    with pytest.raises(KeyError):
        race_named("no-such-row")


@pytest.mark.parametrize("race", all_races(), ids=lambda race: race.name)
def test_comparisons_and_targets_name_sides_of_their_race(race: Race) -> None:
    sides = [contestant.name for contestant in race.contestants]
    baseline = sides[0]
    assert len(set(sides)) == len(sides)
    for pair in race.compare:
        assert set(pair) <= set(sides) - {baseline}
    for target in race.targets:
        assert target.side in sides
        assert target.against is None or (target.side, target.against) in race.compare


def test_code_hash_changes_with_any_file_that_is_measured(tmp_path: Path) -> None:
    for room in setting.MEASURED:
        (tmp_path / room).mkdir()
    file = tmp_path / "kernels" / "some.py"
    file.write_text("x = 1\n")
    first = setting.code_hash(tmp_path)
    assert setting.code_hash(tmp_path) == first
    file.write_text("x = 2\n")
    second = setting.code_hash(tmp_path)
    file.rename(tmp_path / "kernels" / "other.py")
    assert len({first, second, setting.code_hash(tmp_path)}) == 3


def test_every_result_in_the_repository_is_whole_and_names_its_command() -> None:
    # Sorted by name, not by path: "-" comes before ".", so "a-long.json" would precede "a.json".
    files = {file.stem for file in store.RESULTS.glob("*.json")}
    assert {row.name for row in store.rows(store.RESULTS)} == files
    table = (store.RESULTS / store.TABLE).read_text() if files else ""
    for row in store.rows(store.RESULTS):
        assert row.command.startswith("python -m benchmarks")
        assert row.command in table
        assert race_named(row.name).title in table
