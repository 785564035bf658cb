"""Long computations in threads of the server: they outlive a page change, say how far they are, can be cancelled."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Literal

from workbench import progress
from workbench.errors import InputError

KEPT = 64
"""Jobs that are remembered after they ended."""

AT_ONCE = 32
"""Jobs that may run or wait at the same time."""

FRESH = 3.0
"""Seconds for which somebody who looked at a job counts as waiting for it."""


class Cancelled(BaseException):
    """Ends the work of a job that nobody wants any more; not an Exception, so that nothing on the way swallows it."""


class Job:
    """One computation: what it does, how far it is, and what came out.

    Attributes:
        job_id: names it in links.
        label: what it does, for people: ``"finding induction heads"``.
        state: ``"running"``, ``"done"``, ``"cancelled"`` or ``"failed"``.
        what, done, total: what it is at, as `workbench.progress` tells it; `total` is None where nobody knows.
        result: what the work returned, once it is done.
        error: what it raised, where it failed.
        partial: what there is so far, where the work publishes it with `publish`.
    """

    def __init__(self, label: str, work: Callable[[Job], Any]) -> None:
        self.job_id = uuid.uuid4().hex[:12]
        self.label = label
        self.state: Literal["running", "done", "cancelled", "failed"] = "running"
        self.what, self.done, self.total = "", 0, None
        self.result: Any = None
        self.partial: Any = None
        self.error: BaseException | None = None
        self.began = time.monotonic()
        self.ended: float | None = None
        self._cancel = threading.Event()
        self._looked: dict[str, float] = {}
        self._work = work
        self._thread = threading.Thread(target=self._run, name=f"job {label}", daemon=True)

    total: int | None

    def start(self) -> Job:
        """Begin, once."""
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Ask the work to end at its next step."""
        self._cancel.set()

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
    def cancelling(self) -> bool:
        """Whether it was asked to end and has not yet."""
        return self._cancel.is_set() and self.state == "running"

    def check(self) -> None:
        """Raise `Cancelled` if it was asked to end; work with loops of its own calls this in each round."""
        if self._cancel.is_set():
            raise Cancelled

    def publish(self, partial: Any) -> None:
        """Let others see what there is so far."""
        self.partial = partial

    def wait(self, seconds: float) -> bool:
        """Wait that long at most for the end; whether it came."""
        self._thread.join(seconds)
        return self.state != "running"

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

    def _hear(self, what: str, done: int, total: int | None) -> None:
        if done == 0:
            self._part_began = time.monotonic()
        self.what, self.done, self.total = what, done, total
        self.check()

    def _run(self) -> None:
        self._part_began = time.monotonic()
        try:
            with progress.heard_by(self._hear):
                self.check()
                self.result = self._work(self)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except BaseException as error:  # the page that asked shows it
            self.error = error
            self.state = "failed"
        finally:
            self.ended = time.monotonic()


class Jobs:
    """The jobs of a server, by what they compute: two sessions that ask the same share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[Hashable, Job] = OrderedDict()

    def ask(self, key: Hashable, label: str, work: Callable[[Job], Any]) -> Job:
        """The job of that key: the one that runs, or a new one.

        Raises:
            InputError: as many as may run do.
        """
        with self._lock:
            found = self._jobs.get(key)
            if found is None or found.state != "running":
                if sum(job.state == "running" for job in self._jobs.values()) >= AT_ONCE:
                    raise InputError(f"{AT_ONCE} computations run or wait already; cancel one, or try again later.")
                found = self._jobs[key] = Job(label, work).start()
            self._jobs.move_to_end(key)
            while len(self._jobs) > KEPT and (old := self._ended()) is not None:
                del self._jobs[old]
            return found

    def find(self, key: Hashable) -> Job | None:
        """The job of that key, running or ended lately."""
        with self._lock:
            return self._jobs.get(key)

    def forget(self, key: Hashable) -> None:
        """Forget a job that ended."""
        with self._lock:
            found = self._jobs.get(key)
            if found is not None and found.state != "running":
                del self._jobs[key]

    def running(self) -> list[Job]:
        """Those that run, the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if job.state == "running"]

    def _ended(self) -> Hashable | None:
        return next((key for key, job in self._jobs.items() if job.state != "running"), None)
