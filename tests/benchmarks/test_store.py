import os
from pathlib import Path

import pytest

from benchmarks import page, store, table
from benchmarks.records import Comparison, Machine, Row, Setting, SideResult, Spread, Target

SETTING = Setting(
    machine=Machine(cpu="some processor", cores=2, threads=1, memory_gb=8.0, system="Linux x86_64"),
    versions={"python": "3.11.0", "torch": "2.13.0"},
    code="abc",
)


def spread(median: float) -> Spread:
    return Spread(median=median, q1=median - 0.01, q3=median + 0.01, low=median - 0.1, high=median + 0.1, n=9)


def row(name: str = "some-row", ratio: float = 1.02) -> Row:
    return Row(
        name=name,
        title="Some race",
        shapes="batch 1, T = 4",
        dtype="float32",
        baseline="stock",
        sides=[
            SideResult(name="stock", what="the stock model", seconds=spread(0.5), cpu_seconds=spread(0.5)),
            SideResult(
                name="ours",
                what="our model",
                seconds=spread(0.51),
                cpu_seconds=spread(0.5),
                ratio=spread(ratio),
                cpu_ratio=spread(1.01),
                extra_seconds=spread(0.01),
                peak_extra_mb=321.0,
                max_error=3.2e-5,
                relative_error=2e-6,
            ),
        ],
        comparisons=[Comparison(side="ours", against="theirs", ratio=spread(0.8), cpu_ratio=spread(0.7))],
        targets=[
            Target(side="ours", quantity="ratio", at_most=1.05),
            Target(side="ours", quantity="ratio", at_most=0.5, against="theirs"),
            Target(side="stock", quantity="peak_extra_mb", at_most=10.0),
        ],
        computed={"the matrices would take": "26 GB"},
        error_against="the stock model in float64",
        notes="Some notes.",
        setting=SETTING,
        command="python -m benchmarks some-row",
        commit="1234567",
        measured_at="2030-01-01 00:00 UTC",
        load_average=0.5,
    )


def test_a_saved_row_is_read_back_as_it_was(tmp_path: Path) -> None:
    store.save(row(), tmp_path)
    assert store.load("some-row", tmp_path) == row()


def test_a_row_is_kept_only_while_its_setting_is_the_same(tmp_path: Path) -> None:
    assert store.kept("some-row", tmp_path, SETTING) is None
    store.save(row(), tmp_path)
    assert store.kept("some-row", tmp_path, SETTING) == row()
    other_machine = SETTING.machine.model_copy(update={"threads": 2})
    for changed in ({"code": "abd"}, {"versions": {"torch": "2.14.0"}}, {"machine": other_machine}):
        assert store.kept("some-row", tmp_path, SETTING.model_copy(update=changed)) is None


def test_a_row_of_another_schema_is_measured_anew(tmp_path: Path) -> None:
    store.save(row(), tmp_path)
    path = tmp_path / "some-row.json"
    path.write_text(path.read_text().replace('"title"', '"headline"'))
    assert store.kept("some-row", tmp_path, SETTING) is None


def test_an_interrupted_write_leaves_the_old_row_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(row(), tmp_path)

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(row(ratio=2.0), tmp_path)
    assert store.load("some-row", tmp_path) == row()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some-row.json", "table.md"]


def test_rows_come_in_the_order_of_the_races(tmp_path: Path) -> None:
    for name in ("a-race-that-is-gone", "demo", "cached-gpt2", "forward-smollm2"):
        store.save(row(name), tmp_path)
    assert [each.name for each in store.rows(tmp_path)] == [
        "forward-smollm2",
        "cached-gpt2",
        "demo",
        "a-race-that-is-gone",
    ]


def test_the_table_holds_every_row_with_its_command_and_verdicts(tmp_path: Path) -> None:
    store.save(row(), tmp_path)
    store.save(row("another-row", ratio=1.2), tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "    python -m benchmarks some-row\n" in table
    assert "| ours | 510 ms | 1.020 [1.010–1.030] | 1.010 [1.000–1.020] | 321 MB | 3.2e-05 | 2.0e-06 | 9 |" in table
    assert "ours: time at most 1.05x of stock: met, 1.02x." in table
    assert "ours: time at most 1.05x of stock: **missed**, 1.2x." in table
    assert "ours: time at most 0.5x of theirs: **missed**, 0.8x." in table
    assert "stock: peak extra memory at most 10 MB: not measured." in table
    assert "Computed, not measured: the matrices would take: 26 GB." in table
    assert "some processor, 2 cores, 1 thread(s) used" in table


def faster(side: str = "theirs", **changed: object) -> Row:
    """A row whose baseline is ours and whose peer takes fourteen times as long, at half the row's length."""
    ours = SideResult(
        name="ours", what="ours", seconds=spread(0.01), cpu_seconds=spread(0.01), peak_extra_mb=20.0, max_error=1e-6
    )
    theirs = SideResult(
        name=side,
        what="theirs",
        seconds=spread(0.14),
        cpu_seconds=spread(0.14),
        ratio=spread(14.0),
        cpu_ratio=spread(14.0),
        extra_seconds=spread(0.13),
        peak_extra_mb=300.0,
        extrapolate=4.0,
    )
    base = row("core-mamba").model_dump() | {"baseline": "ours", "sides": [ours, theirs], "comparisons": []}
    return Row.model_validate(base | {"targets": [], "computed": {}} | changed)


def test_numbers_of_a_side_that_ran_at_smaller_shapes_are_extrapolated_and_say_so(tmp_path: Path) -> None:
    time = Target(side="theirs", quantity="ratio", at_least=50)
    memory = Target(side="theirs", quantity="memory_ratio", at_least=100)
    found = faster(targets=[time, memory])
    assert found.reached(time) == pytest.approx(4 * 14)
    assert found.reached(memory) == pytest.approx(4 * 300 / 20)
    assert found.reached(Target(side="theirs", quantity="seconds", at_most=1)) == pytest.approx(0.14)
    store.save(found, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "theirs: time at least 50x of ours: met, 56x (extrapolated)." in table
    assert "theirs: peak extra memory at least 100x of ours: **missed**, 60x (extrapolated)." in table
    assert "**theirs** at the row's shapes, 4 times what it ran: 560 ms and 1200 MB." in table


def test_a_target_on_a_side_that_was_left_out_is_not_measured_and_the_table_says_why(tmp_path: Path) -> None:
    target = Target(side="absent", quantity="ratio", at_least=3)
    found = faster(targets=[target], left_out={"absent": "It cannot be installed here."})
    assert found.reached(target) is None
    assert found.reached(Target(side="theirs", quantity="memory_ratio", at_most=9, against="absent")) is None
    store.save(found, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "absent: time at least 3x of ours: not measured." in table
    assert "**absent** is left out: It cannot be installed here." in table


def test_the_page_keeps_what_is_written_by_hand_and_shows_the_rows() -> None:
    found = faster(targets=[Target(side="theirs", quantity="ratio", at_least=50)])
    text = f"# Costs\n\nBy hand.\n\n{page.START}\nold\n{page.END}\nAt the end.\n"
    filled = page.filled(text, [found])
    assert filled.startswith(f"# Costs\n\nBy hand.\n\n{page.START}\n")
    assert filled.endswith(f"{page.END}\nAt the end.\n") and "old" not in filled
    assert "| Some race | theirs: time at least 50x of ours | met, 56x (extrapolated) |" in filled
    assert "| theirs | 140 ms | 14 [14–14] | 300 MB |  |" in filled
    assert page.filled(filled, [found]) == filled
    with pytest.raises(ValueError, match="once each"):
        page.filled(text.replace(page.END, ""), [found])


def test_the_page_in_the_repository_shows_the_stored_rows() -> None:
    text = store.PAGE.read_text("utf-8")
    assert page.filled(text, store.rows(store.RESULTS)) == text


def test_what_sides_take_beyond_the_part_they_share_is_said() -> None:
    part = SideResult(name="part", what="what both do", seconds=spread(0.4), cpu_seconds=spread(0.4))
    whole = row().model_copy(update={"sides": [*row().sides, part], "shared": "part"})
    # 0.5 - 0.4 and 0.51 - 0.4 seconds.
    times = "stock 100 ms, ours 110 ms (1.1 times that of stock)"
    said = f"Beyond part, which every side spends (difference of medians): {times}"
    assert said in page.tables([whole]) and said in table.render([whole])
    assert "Beyond" not in page.tables([row().model_copy(update={"shared": "absent"}), row()])
