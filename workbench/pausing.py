"""A computation that hands out values from the inside and waits while the caller works on each.

A forward pass cannot be a generator: the values come from deep inside other people's code. It runs in a thread of its
own, and exactly one of the two threads runs at any time.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class _Abandoned(BaseException):
    """The caller wants no more values."""


@contextmanager
def paused(run: Callable[[Callable[[T], bool]], None]) -> Iterator[Iterator[T]]:
    """Iterate over the values that ``run(emit)`` passes to `emit`; leaving the ``with`` block ends `run` early.

    The thread has the caller's gradient mode and context variables. An error inside `run` is raised at the caller.
    Called from any other thread, `emit` does nothing and returns False: the caller may run, between two values, what
    `run` itself runs.
    """
    values: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    resume: queue.Queue[bool] = queue.Queue(maxsize=1)
    grad = torch.is_grad_enabled()
    inference = torch.is_inference_mode_enabled()
    context = contextvars.copy_context()

    def emit(value: T) -> bool:
        if threading.current_thread() is not thread:
            return False
        values.put(("value", value))
        del value  # the caller is the only one who holds it while this thread waits
        if not resume.get():
            raise _Abandoned
        return True

    def work() -> None:
        try:
            if resume.get():
                with torch.inference_mode(inference), torch.set_grad_enabled(grad):
                    run(emit)
            values.put(("end", None))
        except _Abandoned:
            values.put(("end", None))
        except BaseException as error:  # handed over whole: the caller raises it
            values.put(("error", error))

    def iterate() -> Iterator[T]:
        while True:
            resume.put(True)
            kind, value = values.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value

    thread = threading.Thread(target=context.run, args=(work,), name="paused forward pass", daemon=True)
    thread.start()
    try:
        yield iterate()
    finally:
        if thread.is_alive() and resume.empty():
            resume.put(False)
        thread.join()
