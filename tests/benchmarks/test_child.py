import json
import os

import pytest
import torch

from benchmarks import child
from benchmarks.race import Contestant, Race
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
    from benchmarks.race import CannotMeasure
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
