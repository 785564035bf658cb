"""Long computations in threads of the server: they outlive a page change, say how far they are, can be cancelled."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Literal

from workbench import progress
from workbench.errors import InputError, WorkbenchError

KEPT = 64
"""Jobs that are remembered after they ended."""

AT_ONCE = 32
"""Jobs that may run or wait at the same time."""

FRESH = 3.0
"""Seconds for which somebody who looked at a job counts as waiting for it."""


LOOK = 0.1
"""Seconds between two looks at whether an earlier job has ended."""

_log = logging.getLogger("workbench.app")


class Cancelled(BaseException):
    """Ends the work of a job that nobody wants any more; not an Exception, so that nothing on the way swallows it."""


class Job:
    """One computation: what it does, how far it is, and what came out.

    Attributes:
        job_id: names it in links.
        label: what it does, for people: ``"finding induction heads"``.
        state: ``"running"``, ``"done"``, ``"cancelled"`` or ``"failed"``. It is cancelled at once when it is asked to
            end, also where its thread is at something that cannot be stopped (`ending`), such as loading a model.
        what, done, total: what it is at, as `workbench.progress` tells it; `what` is empty between two loops, and
            `total` is None where nobody knows.
        result: what the work returned, once it is done.
        error: what it raised, where it failed, without its traceback: the server's log has that of a fault of the
            workbench.
        partial: what there is so far, where the work publishes it with `publish`.
    """

    def __init__(self, label: str, work: Callable[[Job], Any], after: Job | None = None) -> None:
        self.job_id = uuid.uuid4().hex[:12]
        self.label = label
        self.state: Literal["running", "done", "cancelled", "failed"] = "running"
        self.what, self.done, self.total = "", 0, None
        self.result: Any = None
        self.partial: Any = None
        self.error: BaseException | None = None
        self.began = time.monotonic()
        self.ended: float | None = None
        self._after = after
        self._cancel, self._over = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}
        self._work = work
        self._thread = threading.Thread(target=self._run, name=f"job {label}", daemon=True)

    total: int | None

    def start(self) -> Job:
        """Begin, once."""
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Cancel it; the work ends at its next step."""
        self._cancel.set()
        self._end("cancelled")

    def looked_at(self, session: str) -> None:
        """Note that a session waits for it."""
        self._looked[session] = time.monotonic()

    def told(self, session: str) -> bool:
        """Whether a session waited for it and has not been told of its end yet."""
        return self._looked.pop(session, None) is not None

    def given_up(self, session: str) -> None:
        """Let a session wait no longer; the work is asked to end unless another session waits for the same."""
        self._looked.pop(session, None)
        now = time.monotonic()
        if all(now - at > FRESH for at in list(self._looked.values())):
            self.cancel()

    @property
    def thread(self) -> int | None:
        """The thread it runs in, by number."""
        return self._thread.ident

    @property
    def ending(self) -> bool:
        """Whether it was cancelled and its thread has not reached a step at which it can stop."""
        return self._cancel.is_set() and self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """Whether it runs, or is `ending`."""
        return self.state == "running" or self.ending

    def check(self) -> None:
        """Raise `Cancelled` if it was asked to end; work with loops of its own calls this in each round."""
        if self._cancel.is_set():
            raise Cancelled

    def publish(self, partial: Any) -> None:
        """Let others see what there is so far."""
        self.partial = partial

    def wait(self, seconds: float) -> bool:
        """Wait that long at most until it runs no more; whether that came."""
        return self._over.wait(seconds)

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (self.ended or time.monotonic()) - self.began

    @property
    def seconds_left(self) -> float | None:
        """How long the part it is at will take yet, if it goes on at its pace; None where nobody knows."""
        if not self.total or not self.done:
            return None
        return (time.monotonic() - self._part_began) * (self.total - self.done) / self.done

    def hear(self, what: str, done: int, total: int | None) -> None:
        """Note what it is at and how far, and end it if it was cancelled; loops of the library call this."""
        if done == 0:
            self._part_began = time.monotonic()
        if total is not None and done >= total:  # what comes after a loop is no part of it
            what, done, total = "", 0, None
        self.what, self.done, self.total = what, done, total
        self.check()

    def _run(self) -> None:
        self._part_began = time.monotonic()
        try:
            with progress.heard_by(self.hear):
                self._wait_for_earlier()
                self.check()
                self.result = self._work(self)
            self._end("done")
        except Cancelled:
            self._end("cancelled")
        except BaseException as error:  # the page that asked shows it
            if not isinstance(error, WorkbenchError):
                _log.error("while %s", self.label, exc_info=error)
            self.error = _alone(error)
            self._end("failed")

    def _wait_for_earlier(self) -> None:
        """Wait until the same work, cancelled a moment ago, has ended: both may write the same files."""
        earlier, self._after = self._after, None
        while earlier is not None and earlier.ending:
            self.hear("waiting until what was cancelled has ended", 0, None)
            earlier._thread.join(LOOK)

    def _end(self, state: Literal["done", "cancelled", "failed"]) -> None:
        with self._lock:
            if self.state == "running":
                self.state, self.ended = state, time.monotonic()
        self._over.set()


def _alone(error: BaseException) -> BaseException:
    """The error without what leads to objects of the work, a whole model among them: its traceback and its causes."""
    error.__cause__ = error.__context__ = None
    if isinstance(error, AttributeError):
        error.obj = None
    return error.with_traceback(None)


class Jobs:
    """The jobs of a server, by what they compute: two sessions that ask the same share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[Hashable, Job] = OrderedDict()
        self._left: dict[Hashable, Job] = {}  # forgotten, and ending yet

    def ask(self, key: Hashable, label: str, work: Callable[[Job], Any]) -> Job:
        """The job of that key: the one that runs, or a new one.

        Raises:
            InputError: as many as may run do.
        """
        with self._lock:
            found = self._jobs.get(key)
            if found is None or found.state != "running":
                self._left = {left: job for left, job in self._left.items() if job.ending}
                if sum(job.busy for job in (*self._jobs.values(), *self._left.values())) >= AT_ONCE:
                    raise InputError(f"{AT_ONCE} computations run or wait already; cancel one, or try again later.")
                found = self._jobs[key] = Job(label, work, after=found or self._left.get(key)).start()
            self._jobs.move_to_end(key)
            while len(self._jobs) > KEPT and (old := self._ended()) is not None:
                del self._jobs[old]
            return found

    def find(self, key: Hashable) -> Job | None:
        """The job of that key, running or ended lately."""
        with self._lock:
            return self._jobs.get(key)

    def forget(self, key: Hashable) -> None:
        """Forget a job that runs no more."""
        with self._lock:
            found = self._jobs.get(key)
            if found is not None and found.state != "running":
                del self._jobs[key]
                if found.ending:
                    self._left[key] = found

    def running(self) -> list[Job]:
        """Those that run, the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if job.state == "running"]

    def _ended(self) -> Hashable | None:
        return next((key for key, job in self._jobs.items() if not job.busy), None)
