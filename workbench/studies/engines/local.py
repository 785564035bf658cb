"""The engine of this machine: one process a worker, each with models of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from workbench.errors import InputError, WorkbenchError
from workbench.studies.engines.local_process import ENDED, READY, REFUSED, RunnerMaker, serve, study_worker
from workbench.studies.engines.protocol import Assignment, Outcome, Work

IN_FLIGHT = 2
"""Chunks at a worker: it computes one while the next is in its pipe already."""

AHEAD = 32
"""Chunks a worker that the engine holds besides, to find each worker some whose prompts it knows."""

MEMORY = 16
"""Prompts that a worker is taken to know."""

STILLBORN = 3
"""So many workers in a row may die before they are ready; then it is no accident."""


@dataclass
class _Member:
    """A worker's process.

    Attributes:
        number: from 0; a successor takes the number over, and the device with it.
        chunks: what it was given and has not answered; it computes the first.
        knows: ids of the prompts of its last chunks.
    """

    number: int
    process: BaseProcess
    pipe: Connection
    process_id: int
    ready: bool = False
    chunks: deque[Assignment] = field(default_factory=deque)
    knows: deque[str] = field(default_factory=lambda: deque(maxlen=MEMORY))


class LocalEngine:
    """Runs chunks in processes of this machine.

    Processes are spawned, not forked: a script that runs a study has to do so under ``if __name__ == "__main__":``.
    Where every model of the study asks for ``cuda`` and there are several GPUs, each worker sees one of them.

    Args:
        workers: processes.
        threads: of torch and BLAS in each.
        runner: what makes the object that runs chunks, in the worker's process; by default the study's worker.
    """

    def __init__(self, workers: int = 1, threads: int = 1, runner: RunnerMaker = study_worker) -> None:
        self.workers, self.threads = workers, threads
        self._runner = runner
        self._work: Work | None = None
        self._members: list[_Member] = []
        self._waiting: deque[Assignment] = deque()
        self._stillborn = 0

    @property
    def capacity(self) -> int:
        return self.workers * (IN_FLIGHT + AHEAD)

    def start(self, work: Work) -> None:
        """Start the processes and wait until one of them has loaded its models; the others join when they have.

        Raises:
            InputError: the workers die while they start.
            WorkbenchError: what a worker says that cannot load a model.
        """
        self._work = work
        self._members = [self._hire(number) for number in range(self.workers)]
        while not any(member.ready for member in self._members):
            lost = [outcome for outcome in self._listen(None) if outcome.lost]
            assert not lost  # nobody has a chunk yet

    def submit(self, assignment: Assignment) -> None:
        self._waiting.append(assignment)

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        self._hand_out()
        yield from self._listen(timeout_s)

    def close(self) -> None:
        for member in self._members:
            member.process.terminate()
        for member in self._members:
            member.process.join(2.0)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.pipe.close()
            member.process.close()
        self._members = []
        self._waiting.clear()

    def _hand_out(self) -> None:
        """Give every worker with room a chunk whose prompts it knows, else one that no other worker knows."""
        # One each before a second one for anybody.
        for depth in range(1, IN_FLIGHT + 1):
            for member in self._members:
                if self._waiting and member.ready and len(member.chunks) < depth:
                    self._give(member, self._waiting_for(member))

    def _waiting_for(self, member: _Member) -> Assignment:
        others = {prompt for other in self._members if other is not member for prompt in other.knows}
        known, unknown = set(member.knows), None
        for chunk in self._waiting:
            names = [prompt.prompt_id for prompt in chunk.prompts]
            if not known.isdisjoint(names):
                return chunk
            if unknown is None and others.isdisjoint(names):
                unknown = chunk
        return unknown or self._waiting[0]

    def _give(self, member: _Member, chunk: Assignment) -> None:
        self._waiting.remove(chunk)
        member.chunks.append(chunk)
        for prompt in chunk.prompts:
            if prompt.prompt_id not in member.knows:
                member.knows.append(prompt.prompt_id)
        try:
            member.pipe.send(chunk)
        except OSError:
            # It is dead; its sentinel says so, and what becomes of its chunks is decided there.
            return

    def _listen(self, timeout_s: float | None) -> list[Outcome]:
        """What workers have said since the last time; waits for the first of them to speak or to die."""
        ended: list[Outcome] = []
        pipes = [member.pipe for member in self._members]
        sentinels = [member.process.sentinel for member in self._members]
        speaking = set(wait([*pipes, *sentinels], timeout_s))
        for member in list(self._members):
            if member.pipe not in speaking and member.process.sentinel not in speaking:
                continue
            ended += self._hear(member)
            if not member.process.is_alive():
                ended += self._bury(member)
        self._hand_out()
        return ended

    def _hear(self, member: _Member) -> list[Outcome]:
        """Everything that lies in a worker's pipe."""
        ended = []
        try:
            while member.pipe.poll():
                what, said = member.pipe.recv()
                if what == READY:
                    member.ready, self._stillborn = True, 0
                elif what == REFUSED:
                    assert isinstance(said, WorkbenchError)
                    raise said
                elif what == ENDED:
                    member.chunks.popleft()
                    ended.append(said)
        except (EOFError, OSError):
            # It died; wait for its exit code, which says of what.
            member.process.join(5.0)
        return ended

    def _bury(self, member: _Member) -> list[Outcome]:
        """A worker has died: the chunk that it was computing is lost, the others are handed to somebody else."""
        death = _death(member.process.exitcode)
        if not member.ready:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise InputError(f"{self._stillborn} workers in a row died while they started: {death}.")
        lost = [member.chunks.popleft()] if member.chunks else []
        self._waiting.extendleft(reversed(member.chunks))
        member.pipe.close()
        member.process.close()
        self._members[self._members.index(member)] = self._hire(member.number)
        return [
            Outcome(
                chunk.chunk_id,
                error=death,
                lost=True,
                worker={"host": socket.gethostname(), "pid": member.process_id, "threads": self.threads},
            )
            for chunk in lost
        ]

    def _hire(self, number: int) -> _Member:
        assert self._work is not None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self._work, self._runner), name=f"study worker {number}", daemon=True
        )
        # BLAS reads these when it is loaded, before any of our code runs there.
        with _environment({**_threads(self.threads), **_device(self._work, number)}):
            process.start()
        theirs.close()
        return _Member(number, process, ours, process.pid or 0)


def _threads(count: int) -> dict[str, str]:
    return {name: str(count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def _device(work: Work, number: int) -> dict[str, str]:
    """One GPU for a worker that would otherwise take the first, as every other worker would."""
    if not all(entry.device == "cuda" for entry in work.study.models):
        return {}
    import torch

    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    devices = listed or [str(device) for device in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if len(devices) > 1 else {}


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"a worker was killed by {name}" + (", as when memory runs out" if -code == signal.SIGKILL else "")
    return f"a worker ended with exit code {code}"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time that a process is started in."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
