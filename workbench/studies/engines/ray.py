"""The engine over a Ray cluster: each worker is an actor that keeps the models in its memory.

Ray is asked to place actors and to carry chunks and numbers, and for nothing else. It restarts no actor and repeats no
call, because its repetitions may run a call twice and now and then give up; a lost chunk is tried again by whoever
handed it in. Weights never pass through Ray: every actor loads them from disk, where it may write to them.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InputError, LoadError, WorkbenchError
from workbench.studies.engines.protocol import Assignment, Outcome, Work
from workbench.studies.engines.ray_actor import CODE, Actor, Runner
from workbench.studies.engines.ray_cluster import check_room, connect, counted, installed, reason, sentence

IN_FLIGHT = 2
"""Chunks that an actor holds: it computes one while the next is on its way."""

PATIENCE = 120.0
"""Seconds that Ray is given to find actors a place, from when they are asked for."""

TRIES = 3
"""So many workers may die before they have loaded their models and are replaced."""


@dataclass
class _Member:
    """An actor, and what it was asked for.

    Attributes:
        since: when Ray was asked for it, in seconds of the monotonic clock.
        pending: its unanswered calls in the order in which it runs them; a chunk, or what the call is for.
        place: host and process, once Ray has started it.
        ready: whether its models are loaded.
        last: the chunk that it was handed last.
    """

    actor: Any
    since: float
    pending: dict[Any, Assignment | str] = field(default_factory=dict)
    place: str | None = None
    ready: bool = False
    last: Assignment | None = None

    @property
    def chunks(self) -> list[Assignment]:
        return [asked for asked in self.pending.values() if isinstance(asked, Assignment)]

    def strangeness(self, chunk: Assignment) -> int:
        """0 for a chunk of the prompts that it read last, 1 for others of that model, 2 for another model's."""
        if self.last is None or self.last.model != chunk.model:
            return 2
        return int(self.last.prompts != chunk.prompts)


class RayEngine:
    """Runs chunks on the nodes of a Ray cluster.

    The nodes need this package in the same version, Ray and Python as here, and the models under the same names: a
    local path has to exist on each of them.

    Args:
        workers: actors to start.
        threads: of each; so many CPUs of the cluster are taken for it.
        address: of a cluster: ``auto`` for the one on this machine, ``host:6379``, ``ray://host:10001``; None starts
            one on this machine and ends it in `close`.
        gpus_per_worker: GPUs of each; None takes one where the cluster has any and the study does not ask for the CPU.
        runner: what makes the object that runs chunks, in the actor; by default the study's worker.
    """

    def __init__(
        self,
        workers: int,
        threads: int = 1,
        address: str | None = None,
        gpus_per_worker: int | None = None,
        runner: Callable[[Work], Runner] | None = None,
    ) -> None:
        self.workers, self.threads, self.address, self.gpus_per_worker = workers, threads, address, gpus_per_worker
        self._runner = runner
        self._ray: Any = None
        self._own_connection = False
        self._hire: Callable[[], _Member] = _not_started
        self._members: list[_Member] = []
        self._waiting: deque[Assignment] = deque()
        self._stillborn = 0

    @property
    def capacity(self) -> int:
        return IN_FLIGHT * self.workers

    def start(self, work: Work) -> None:
        """Connect, start the actors and wait until each has its models.

        Where other people's work leaves room for some of them only, those begin, and the others join them later.

        Raises:
            InputError: Ray is not installed, there is no cluster at the address, or it has no room for the workers.
            LoadError: a node cannot load a model.
        """
        self._ray = installed()
        self._own_connection = connect(self._ray, self.address)
        try:
            gpus = self._gpus(work)
            check_room(self._ray, self.workers, self.threads, gpus)
            self._hire = self._hiring(work, gpus)
            self._members = [self._hire() for _ in range(self.workers)]
            while not all(member.ready or self._late(member) for member in self._members):
                self._settle(timeout_s=1.0)
            missing = sum(not member.ready for member in self._members)
            if missing:
                warnings.warn(f"{missing} of {self.workers} workers wait for room in the Ray cluster.", stacklevel=2)
        except BaseException:
            self.close()
            raise

    def submit(self, assignment: Assignment) -> None:
        self._waiting.append(assignment)
        self._dispatch()

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        """Every chunk that has ended since the last call; waits for the first one up to the timeout.

        Raises:
            InputError: no worker is left and Ray finds no place for another one.
            LoadError: no worker is left, and others could not load a model.
        """
        deadline = time.monotonic() + timeout_s
        found: list[Outcome] = []
        while not found and (self._waiting or any(member.chunks for member in self._members)):
            left = deadline - time.monotonic()
            found += self._settle(max(left, 0.0))
            if left <= 0:
                break
        return iter(found)

    def close(self) -> None:
        """End the actors, and a cluster of our own. Where Ray was shut down before, both have ended with it."""
        for member in self._members:
            self._end(member)
        self._members, self._hire = [], _not_started
        self._waiting.clear()
        if self._own_connection:
            self._own_connection = False
            self._ray.shutdown()

    def _gpus(self, work: Work) -> int:
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        on_cpu = all(model.device == "cpu" for model in work.study.models)
        return 0 if on_cpu or self._ray.cluster_resources().get("GPU", 0) < 1 else 1

    def _hiring(self, work: Work, gpus: int) -> Callable[[], _Member]:
        options = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        remote = self._ray.remote(num_cpus=self.threads, num_gpus=gpus, **options)(Actor)
        shared = self._ray.put(work)

        def hire() -> _Member:
            actor = remote.remote(str(Path.cwd()))
            member = _Member(actor, time.monotonic())
            member.pending[actor.place.remote(CODE)] = "place"
            member.pending[actor.load.remote(shared, self._runner)] = "load"
            return member

        return hire

    def _settle(self, timeout_s: float) -> list[Outcome]:
        """Take in what the actors have answered, waiting for the first answer."""
        self._dispatch()
        asked = {call: member for member in self._members for call in member.pending}
        if not asked:
            return []
        answered, others = self._ray.wait(list(asked), num_returns=1, timeout=timeout_s)
        if answered and others:
            answered += self._ray.wait(others, num_returns=len(others), timeout=0)[0]
        found: list[Outcome] = []
        for call in answered:
            member = asked[call]
            if call in member.pending:  # not those of an actor that was found dead a moment ago
                found += self._answer(member, call)
        self._refuse_to_wait_forever()
        self._dispatch()
        return found

    def _answer(self, member: _Member, call: Any) -> list[Outcome]:
        what = member.pending[call]
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as raised:
            return self._raised(member, call, raised.cause)
        except self._ray.exceptions.RayError as gone:
            return self._lost(member, reason(gone))
        del member.pending[call]
        if what == "place":
            member.place = str(answer)
        elif what == "load":
            member.ready = True
        else:
            return [answer]
        return []

    def _raised(self, member: _Member, call: Any, error: Any) -> list[Outcome]:
        """A chunk that raises has failed, and its actor goes on; an actor that cannot load is of no use."""
        what = member.pending.pop(call)
        if isinstance(what, Assignment):
            return [Outcome(what.chunk_id, error=f"{_place(member)}: {sentence(error)}")]
        self._members.remove(member)
        self._end(member)
        told = f"{_place(member)}: {sentence(error)}"
        if any(other.ready for other in self._members) and isinstance(error, WorkbenchError):
            warnings.warn(f"A worker is missing. {told}", stacklevel=2)
            return []
        raise LoadError(told) from error

    def _lost(self, member: _Member, why: str) -> list[Outcome]:
        """Bury an actor. Of its chunks the first one was running, for calls are run in turn; the others go on.

        So a chunk that kills whoever runs it takes no others with it, however often it is tried.
        """
        chunks = member.chunks
        self._members.remove(member)
        self._end(member)
        self._waiting.extendleft(reversed(chunks[1:]))
        told = f"{_place(member)} died: {why}"
        self._stillborn += not member.ready
        if member.ready or self._stillborn <= TRIES:
            self._members.append(self._hire())
        elif self._members:
            warnings.warn(f"A worker is missing. {told}", stacklevel=2)
        else:
            raise InputError(f"No worker of the Ray cluster lives to its first chunk. {told}")
        return [Outcome(chunk.chunk_id, error=told, lost=True) for chunk in chunks[:1]]

    def _late(self, member: _Member) -> bool:
        return member.place is None and time.monotonic() - member.since > PATIENCE

    def _refuse_to_wait_forever(self) -> None:
        """Raises InputError where nobody works and Ray has found a place for nobody in all the time it was given."""
        if self._members and all(self._late(member) for member in self._members):
            free = counted(self._ray.available_resources())
            raise InputError(
                f"Ray found no place for a worker within {PATIENCE:.0f} s; free are {free}: `ray status` says who uses "
                "the others."
            )

    def _dispatch(self) -> None:
        """Hand waiting chunks to actors that have room, those of a model and prompts that it knows first."""
        while self._waiting:
            free = [one for one in self._members if one.ready and len(one.chunks) < IN_FLIGHT]
            if not free:
                return
            member = min(free, key=lambda one: len(one.chunks))
            chunk = min(self._waiting, key=member.strangeness)  # the first of equals
            self._waiting.remove(chunk)
            member.last = chunk
            member.pending[member.actor.run.remote(chunk)] = chunk

    def _end(self, member: _Member) -> None:
        member.pending.clear()
        if self._ray.is_initialized():  # to ask Ray for anything would start it again
            with suppress(self._ray.exceptions.ActorHandleNotFoundError):  # of a session that has ended
                self._ray.kill(member.actor, no_restart=True)


def _not_started() -> _Member:
    raise InputError("The engine has not been started.")


def _place(member: _Member) -> str:
    return f"The worker on {member.place}" if member.place else "A worker that Ray was starting"
