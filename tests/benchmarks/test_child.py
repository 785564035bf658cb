import json
import os
from dataclasses import replace

import pytest
import torch

from benchmarks import child
from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Comparison, SideResult


def a_race() -> Race:
    right = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    wrong = right.float()
    wrong[1, 2] += 0.5
    return Race(
        name="numbers",
        title="Numbers",
        shapes="2 x 3",
        contestants=(
            Contestant("right", "the oracle's own", lambda: lambda: right.float()),
            Contestant(
                "wrong", "one entry is off by a half", lambda: lambda: (wrong, "cache"), lambda result: result[0]
            ),
            Contestant("silent", "has no answer", lambda: lambda: None, answer=None),
        ),
        budget=0.0,
        compare=(("wrong", "silent"),),
        oracle=lambda: right,
    )


def test_a_timed_race_reports_every_side_with_its_own_error() -> None:
    rounds: list[tuple[int, int]] = []
    measured = child._time(a_race(), lambda *at: rounds.append(at))
    sides = [SideResult.model_validate(side) for side in measured["sides"]]
    assert [(side.name, side.max_error) for side in sides] == [("right", 0.0), ("wrong", 0.5), ("silent", None)]
    assert [side.ratio is None for side in sides] == [True, False, False]
    assert [(c["side"], c["against"]) for c in measured["comparisons"]] == [("wrong", "silent")]
    assert Comparison.model_validate(measured["comparisons"][0]).ratio.n == 5
    assert rounds == [(n, 5) for n in range(1, 6)]
    json.dumps(measured)  # it leaves the process as JSON


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        child.largest_error(torch.zeros(2, 3), torch.zeros(3, 2))


def test_a_race_that_cannot_be_measured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.races import registry

    def missing() -> object:
        raise CannotMeasure("The file is not here.")

    race = Race(name="x", title="x", shapes="", contestants=(Contestant("a", "a", missing),))
    monkeypatch.setattr(registry, "race_named", lambda name: race)
    read, write = os.pipe()
    monkeypatch.setenv("BENCHMARK_CHANNEL", str(write))
    before = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        assert child.main(["time", "x"]) == child.CANNOT_MEASURE
    finally:
        torch.set_num_threads(before[0])
        torch.set_grad_enabled(before[1])
        os.close(write)
    with os.fdopen(read) as channel:
        assert json.loads(channel.read()) == {"cannot": "The file is not here."}


def a_race_without_a_peer(**options: object) -> Race:
    def missing() -> object:
        raise CannotMeasure("The peer is not here.")

    three = torch.full((2,), 3.0)
    sides = (Contestant("ours", "ours", lambda: lambda: three), Contestant("peer", "theirs", missing))
    return Race(
        name="x", title="x", shapes="", contestants=sides, budget=0.0, oracle=lambda: three.double() + 0.75, **options
    )


def test_a_race_whose_only_peer_is_missing_is_measured_only_where_it_may_run_alone() -> None:
    with pytest.raises(CannotMeasure, match="The peer is not here"):
        child._time(a_race_without_a_peer(), lambda *at: None)
    measured = child._time(a_race_without_a_peer(alone=True), lambda *at: None)
    assert measured["left_out"] == {"peer": "The peer is not here."}
    assert [side["name"] for side in measured["sides"]] == ["ours"]


def test_the_relative_error_is_over_the_largest_value() -> None:
    (ours,) = child._time(a_race_without_a_peer(alone=True), lambda *at: None)["sides"]
    assert (ours["max_error"], ours["relative_error"]) == (0.75, 0.2)


def test_a_side_with_an_oracle_of_its_own_is_held_to_that() -> None:
    race = a_race_without_a_peer(alone=True)
    own = replace(race.contestants[0], oracle=lambda: torch.tensor([3.0, 5.0]))
    measured = child._time(replace(race, contestants=(own, *race.contestants[1:])), lambda *at: None)
    assert measured["sides"][0]["max_error"] == 2.0
