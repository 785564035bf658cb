"""What a local worker's process does: take chunks from a pipe, run them, send back what came of them."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeAlias, runtime_checkable

from workbench.errors import WorkbenchError
from workbench.studies.engines.protocol import Assignment, Outcome, Work

READY, REFUSED, ENDED = "ready", "refused", "ended"


@runtime_checkable
class Runner(Protocol):
    """What runs chunks in a worker's process."""

    def run(self, assignment: Assignment) -> Outcome:
        """Run a chunk."""


RunnerMaker: TypeAlias = Callable[[Work], Runner]
"""Makes the runner in the worker's process; pickled by name."""


def study_worker(work: Work) -> Runner:
    """The worker that loads models."""
    from workbench.studies.engines.worker import Worker

    return Worker(work)


def serve(connection: Connection, work: Work, make: RunnerMaker) -> None:
    """Serve one coordinator until it hangs up, dead or alive."""
    # Ctrl-C reaches every process of a terminal; only the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch
    from tqdm import tqdm  # type: ignore[import-untyped]

    # Bars of libraries (of a .gguf file that is unpacked) share a semaphore between processes unless they are given a
    # lock; a worker that is ended leaves it behind, and Python warns about that when the study has ended.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(work.threads)
    chunks: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, chunks), daemon=True).start()
    try:
        runner = make(work)
    except WorkbenchError as error:
        connection.send((REFUSED, error))
        return
    connection.send((READY, None))
    while True:
        assignment = chunks.get()
        connection.send((ENDED, _run(runner, assignment, work.threads)))


def _receive(connection: Connection, chunks: queue.SimpleQueue[Assignment]) -> None:
    """Empty the pipe at once, so that neither side ever waits for the other to read.

    The pipe ends with the coordinator, however that ends; what is being computed is of no use to anybody then.
    """
    while True:
        try:
            chunks.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _run(runner: Runner, assignment: Assignment, threads: int) -> Outcome:
    began = time.perf_counter()
    try:
        return runner.run(assignment)
    except WorkbenchError as error:
        said = str(error)
    except Exception as error:  # a chunk that fails in whatever way must not end the worker, nor the study
        said = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    import socket

    worker: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "threads": threads}
    return Outcome(assignment.chunk_id, error=said, seconds=time.perf_counter() - began, worker=worker)
