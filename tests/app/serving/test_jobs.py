"""Jobs say how far they are, stop where the library's loops tick, and are shared by those who ask the same."""

import gc
import threading
import time
import weakref

import pytest

from workbench.app.serving import jobs as jobs_module
from workbench.app.serving.jobs import Job, Jobs
from workbench.errors import InputError
from workbench.progress import tracked

LONG = 30.0


def endless(job: Job) -> None:
    for _ in tracked(iter(int, 1), False, "counting"):
        time.sleep(0.001)


def test_a_job_tells_what_it_is_at_and_what_came_out() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def work(job: Job) -> str:
        for item in tracked(range(4), False, "reading"):
            if item == 2:
                reached.set()
                assert go_on.wait(LONG)
        return "read"

    job = Jobs().ask("key", "reading heads", work)
    assert reached.wait(LONG)
    assert (job.state, job.what, job.done, job.total) == ("running", "reading", 2, 4)
    assert job.seconds_left is not None
    go_on.set()
    assert job.wait(LONG)
    assert (job.state, job.result) == ("done", "read")


def test_what_comes_after_a_loop_is_no_part_of_it() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        for _ in tracked(range(3), False, "loading"):
            pass
        reached.set()
        assert go_on.wait(LONG)

    job = Jobs().ask("key", "reading heads", work)
    assert reached.wait(LONG)
    assert (job.what, job.total, job.seconds_left) == ("", None, None)
    go_on.set()
    assert job.wait(LONG)


def test_a_cancel_counts_at_once_where_the_work_cannot_stop_yet() -> None:
    go_on = threading.Event()
    jobs, order = Jobs(), []

    def deaf(job: Job) -> None:
        assert go_on.wait(LONG)
        order.append("first")

    first = jobs.ask("key", "loading", deaf)
    first.cancel()
    assert first.wait(0) and first.state == "cancelled" and first.ending
    jobs.forget("key")
    again = jobs.ask("key", "loading", lambda job: order.append("second"))
    assert again is not first and not again.wait(0.3)  # both may write the same files, so it waits for the first
    assert again.what == "waiting until what was cancelled has ended" and not order
    go_on.set()
    assert again.wait(LONG) and again.state == "done"
    assert order == ["first", "second"] and first.state == "cancelled"


def test_what_was_cancelled_and_goes_on_counts_among_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "AT_ONCE", 1)
    go_on = threading.Event()
    jobs = Jobs()
    jobs.ask("key", "loading", lambda job: go_on.wait(LONG)).cancel()
    jobs.forget("key")
    with pytest.raises(InputError, match="1 computations run or wait already"):
        jobs.ask("another", "reading", lambda job: None)
    go_on.set()


def test_a_loop_of_the_library_stops_when_its_job_is_cancelled() -> None:
    job = Jobs().ask("key", "counting", endless)
    job.cancel()
    assert job.wait(LONG)
    assert job.state == "cancelled" and job.error is None


def test_what_swallows_exceptions_does_not_swallow_a_cancel() -> None:
    def stubborn(job: Job) -> None:
        while True:
            try:
                job.check()
            except Exception:
                continue

    job = Jobs().ask("key", "going on", stubborn)
    job.cancel()
    assert job.wait(LONG)
    assert job.state == "cancelled"


def test_an_error_is_kept_for_the_page() -> None:
    def fails(job: Job) -> None:
        raise InputError("There is no layer 9.")

    job = Jobs().ask("key", "failing", fails)
    assert job.wait(LONG)
    assert job.state == "failed" and str(job.error) == "There is no layer 9."


class Large:
    """Stands for a model."""


@pytest.mark.parametrize("kind", ["a wrong input", "a fault", "a fault of the object itself"])
def test_an_error_that_is_kept_keeps_nothing_of_the_work(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module._log, "disabled", True)  # what listens to it here keeps the traceback
    used: list[weakref.ref[Large]] = []

    def reads(large: Large) -> None:
        if kind == "a fault of the object itself":
            large.layers  # type: ignore[attr-defined]  # noqa: B018
        try:
            {}["layer"]  # type: ignore[index]
        except KeyError as error:
            raise (InputError if kind == "a wrong input" else RuntimeError)("There is no layer.") from error

    def work(job: Job) -> None:
        large = Large()
        used.append(weakref.ref(large))
        reads(large)

    job = Jobs().ask("key", "failing", work)
    assert job.wait(LONG) and job.state == "failed" and "layer" in str(job.error)
    job._thread.join(LONG)
    gc.collect()
    assert used[0]() is None


def test_a_fault_is_in_the_log_once_and_a_wrong_input_is_not(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(job: Job) -> None:
        raise InputError("There is no layer 9.")

    def fault(job: Job) -> None:
        raise RuntimeError("a fault")

    for work in (wrong, fault):
        assert Jobs().ask("key", "reading heads", work).wait(LONG)
    (record,) = caplog.records
    assert record.getMessage() == "while reading heads" and record.exc_info is not None
    assert "in fault" in caplog.text and "RuntimeError: a fault" in caplog.text


def test_two_who_ask_the_same_share_one_job() -> None:
    jobs = Jobs()
    first, second = jobs.ask("key", "counting", endless), jobs.ask("key", "counting", endless)
    other = jobs.ask("another", "counting", endless)
    assert first is second and other is not first
    for job in (first, other):
        job.cancel()
        assert job.wait(LONG)
    assert jobs.ask("key", "again", lambda job: 1) is not first


def test_one_who_gives_up_leaves_the_job_to_those_who_wait() -> None:
    job = Jobs().ask("key", "counting", endless)
    job.looked_at("a")
    job.looked_at("b")
    job.given_up("a")
    assert job.state == "running" and not job.ending
    job.given_up("b")
    assert job.wait(LONG)
    assert job.state == "cancelled"


def test_one_whose_page_is_gone_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Jobs().ask("key", "counting", endless)
    job.looked_at("closed")
    monkeypatch.setattr(jobs_module, "FRESH", -1.0)
    job.given_up("a")
    assert job.wait(LONG)
    assert job.state == "cancelled"


def test_as_many_run_as_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "AT_ONCE", 2)
    jobs = Jobs()
    running = [jobs.ask(number, "counting", endless) for number in range(2)]
    with pytest.raises(InputError, match="2 computations run or wait already; cancel one"):
        jobs.ask("more", "counting", endless)
    assert jobs.ask(1, "counting", endless) is running[1]
    for job in running:
        job.cancel()
        while job.ending:
            time.sleep(0.001)
    last = jobs.ask("more", "counting", lambda job: None)
    assert last.wait(LONG)


def test_ended_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "KEPT", 3)
    jobs = Jobs()
    for number in range(6):
        assert jobs.ask(number, "a", lambda job: 1).wait(LONG)
    assert [number for number in range(6) if jobs.find(number)] == [3, 4, 5]
    jobs.forget(5)
    assert jobs.find(5) is None
