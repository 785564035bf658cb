"""Models are held by twos, lent to one at a time, in the order in which they were asked for."""

import threading
from typing import Any

import pytest

import workbench as wb
from workbench.app.serving.jobs import Job, Jobs
from workbench.app.serving.models import Shelf
from workbench.app.serving.sources import called

LONG = 30.0


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded, in order; nothing really is."""
    found: list[str] = []

    def load(source: str) -> Any:
        found.append(source)
        return f"model {source}"

    monkeypatch.setattr(wb, "load", load)
    return found


def use(shelf: Shelf, source: str) -> None:
    with shelf.lend(source) as model:
        assert model == f"model {source}"  # type: ignore[comparison-overlap]


def test_a_model_is_loaded_once_and_the_one_used_longest_ago_goes(loads: list[str]) -> None:
    shelf = Shelf()
    for source in ("a", "b", "a", "c", "a", "b"):
        use(shelf, source)
    assert loads == ["a", "b", "c", "b"]
    assert shelf.loaded() == ["a", "b"]
    shelf.drop("a")
    assert shelf.loaded() == ["b"]


def test_room_is_made_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, held = Shelf(), []

    def load(source: str) -> Any:
        held.append(len(shelf.loaded()))
        return f"model {source}"

    monkeypatch.setattr(wb, "load", load)
    for source in ("a", "b", "c"):
        use(shelf, source)
    assert held == [0, 1, 1]


def test_two_models_are_lent_together_to_one(loads: list[str]) -> None:
    shelf = Shelf()
    with shelf.lend("a") as first, shelf.lend("b") as second:
        assert (first, second) == ("model a", "model b")  # type: ignore[comparison-overlap]
    use(shelf, "a")


def test_who_came_first_has_the_model_first(loads: list[str]) -> None:
    shelf, jobs, order = Shelf(), Jobs(), []

    def work(job: Job) -> None:
        with shelf.lend("a"):
            order.append(job.label)

    with shelf.lend("a"):
        waiting = []
        for number in range(4):
            waiting.append(jobs.ask(number, str(number), work))
            while shelf.ahead(waiting[-1].thread) != number + 1:  # this one holds it, the others are before it
                pass
    for job in waiting:
        assert job.wait(LONG) and job.state == "done"
    assert order == ["0", "1", "2", "3"]


def test_who_waits_for_a_model_can_be_cancelled(loads: list[str]) -> None:
    shelf, jobs = Shelf(), Jobs()

    def work(job: Job) -> None:
        with shelf.lend("a"):
            raise AssertionError("it was cancelled before its turn")

    with shelf.lend("a"):
        job = jobs.ask("key", "waiting", work)
        while not shelf.ahead(job.thread):
            pass
        assert job.what == "waiting for the model"
        job.cancel()
        assert job.wait(LONG)
        assert job.state == "cancelled"
    after = jobs.ask("after", "reading", lambda job: use(shelf, "a"))
    assert after.wait(LONG) and after.state == "done"


def test_nobody_else_has_a_model_that_is_lent(loads: list[str]) -> None:
    shelf, inside, seen = Shelf(), [], []

    def work() -> None:
        for source in ("a", "b") * 20:
            with shelf.lend(source):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert seen == [1] * 160


def test_a_model_that_cannot_be_loaded_leaves_the_line_free(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()

    def broken(source: str) -> Any:
        raise OSError(source)

    monkeypatch.setattr(wb, "load", broken)
    with pytest.raises(OSError, match="a"), shelf.lend("a"):
        pass
    done = threading.Event()

    def work() -> None:
        with pytest.raises(OSError, match="b"), shelf.lend("b"):
            pass
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(LONG)


def test_a_load_that_was_cancelled_keeps_the_turn_and_its_model_is_the_first_to_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf, jobs, go_on, loads = Shelf(), Jobs(), threading.Event(), []

    def load(source: str) -> Any:
        loads.append(source)
        assert source != "slow" or go_on.wait(LONG)
        return f"model {source}"

    monkeypatch.setattr(wb, "load", load)
    use(shelf, "a")

    def work(job: Job) -> None:
        with shelf.lend("slow"):
            raise AssertionError("it was cancelled")

    cancelled = jobs.ask("slow", "loading", work)
    while shelf.loading != "slow":
        pass
    cancelled.cancel()
    assert cancelled.wait(0) and cancelled.state == "cancelled"
    other = jobs.ask("a", "reading", lambda job: use(shelf, "a"))
    assert not other.wait(0.3) and shelf.ahead(other.thread) == 1  # a load sets the dtype of the whole process
    go_on.set()
    assert other.wait(LONG) and other.state == "done"
    assert shelf.loading is None
    use(shelf, "slow")
    assert loads == ["a", "slow"]  # kept for who asks again
    fresh = Shelf()
    use(fresh, "a")
    go_on.clear()
    again = jobs.ask("again", "loading", lambda job: use(fresh, "slow"))
    while fresh.loading != "slow":
        pass
    again.cancel()
    go_on.set()
    while again.ending:
        pass
    use(fresh, "b")
    assert fresh.loaded() == ["a", "b"]


def test_a_path_is_called_by_its_last_part() -> None:
    assert called("/home/someone/models/smol.gguf") == "smol.gguf"
    assert called("zoo:mamba") == "zoo:mamba" and called("state-spaces/mamba-130m-hf") == "state-spaces/mamba-130m-hf"
