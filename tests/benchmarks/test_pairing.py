import pytest

from benchmarks.pairing import Samples, alternate, compare
from benchmarks.records import Spread


class Machine:
    """A clock whose machine gets slower by a fixed amount a second, and that hiccups when told to."""

    def __init__(self, slowing: float = 0.0) -> None:
        self.now = 0.0
        self.slowing = slowing
        self.log: list[str] = []
        self.hiccups: dict[int, float] = {}

    def wall(self) -> float:
        return self.now

    def call(self, name: str, cost: float):
        def run() -> None:
            self.log.append(name)
            self.now += cost * (1 + self.slowing * self.now) + self.hiccups.get(len(self.log), 0.0)

        return run


def run(machine: Machine, costs: dict[str, float], **options) -> dict[str, Samples]:
    calls = {name: machine.call(name, cost) for name, cost in costs.items()}
    return alternate(calls, wall=machine.wall, cpu=machine.wall, **options)


def test_baseline_runs_before_and_after_every_other_side_and_the_others_take_turns() -> None:
    machine = Machine()
    run(machine, {"A": 1.0, "B": 1.0, "C": 1.0}, budget=0.0, least=2, warm_up=0)
    assert "".join(machine.log) == "ABACA" + "ACABA"


def test_ratio_is_that_of_the_costs_although_the_machine_gets_slower_all_the_while() -> None:
    machine = Machine(slowing=0.01)
    samples = run(machine, {"A": 1.0, "B": 1.2}, budget=0.0, least=9, warm_up=0)
    naive = [b / a for a, b in zip(samples["A"].wall, samples["B"].wall, strict=False)]
    assert Spread.of(samples["B"].ratios()).median == pytest.approx(1.2, rel=2e-3)
    assert abs(Spread.of(naive).median - 1.2) > 5e-3  # what a ratio to the run before alone would say


def test_one_hiccup_moves_the_extremes_and_not_the_median() -> None:
    machine = Machine()
    machine.hiccups[2] = 50.0
    ratios = Spread.of(run(machine, {"A": 1.0, "B": 1.5}, budget=0.0, least=7, warm_up=0)["B"].ratios())
    assert ratios.median == pytest.approx(1.5)
    assert ratios.high == pytest.approx(51.5)


def test_comparison_of_two_sides_goes_through_the_baseline_beside_each() -> None:
    machine = Machine(slowing=0.001)
    samples = run(machine, {"A": 1.0, "B": 1.2, "C": 2.4}, budget=0.0, least=8, warm_up=0)
    comparison = compare("B", "C", samples)
    assert (comparison.side, comparison.against) == ("B", "C")
    assert comparison.ratio.median == pytest.approx(0.5, rel=2e-3)


def test_extra_seconds_are_paired_differences() -> None:
    samples = Samples(wall=[3.0, 5.0], wall_beside=[1.0, 2.0])
    assert samples.extras() == [2.0, 3.0]


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 5), (70.0, 10), (1e6, 40)])
def test_rounds_fill_the_budget_within_their_bounds(budget: float, rounds: int) -> None:
    seen: list[tuple[int, int]] = []
    machine = Machine()
    # A round costs A once and B with its second A: 1 + 5 + 1 seconds.
    samples = run(
        machine, {"A": 1.0, "B": 5.0}, budget=budget, least=5, most=40, warm_up=1, on_round=lambda *at: seen.append(at)
    )
    assert len(samples["B"].wall) == rounds
    assert seen[-1] == (rounds, rounds)


def test_a_side_alone_is_timed_once_a_round() -> None:
    samples = run(Machine(), {"A": 2.0}, budget=0.0, least=3, warm_up=0)
    assert samples["A"].wall == [2.0, 2.0, 2.0]
    assert samples["A"].wall_beside == []


def test_spread_has_the_quartiles_of_numpy() -> None:
    import numpy as np

    values = [5.0, 1.0, 4.0, 2.5, 9.0, 7.0]
    spread = Spread.of(values)
    expected = np.percentile(values, [0, 25, 50, 75, 100])
    assert [spread.low, spread.q1, spread.median, spread.q3, spread.high] == pytest.approx(expected)
    assert spread.n == 6
