"""One progress bar for every room: it hands on the items, writes to the error stream only, and not before it is due."""

import pytest

from workbench import progress
from workbench.progress import tracked


@pytest.mark.parametrize("show", [True, False])
def test_the_items_come_through_in_order(show: bool) -> None:
    assert list(tracked([3, 1, 2], show, "counting")) == [3, 1, 2]
    assert list(tracked(iter("ab"), show, "counting", 2)) == ["a", "b"]


def drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: float) -> tuple[str, str]:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich is concerned
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock) * seconds)
    list(tracked(range(3), True, "reading activations"))
    written = capsys.readouterr()
    return written.out, written.err


def test_a_bar_of_long_work_is_on_the_error_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = drawn(monkeypatch, capsys, seconds=10)
    assert "reading activations" in err
    assert out == ""


def test_quick_work_draws_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = drawn(monkeypatch, capsys, seconds=0.01)
    assert "reading activations" not in err
    assert out == ""
