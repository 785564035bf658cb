"""Which implementation computes a form: chosen by the call, a context, the environment, or left to the dispatcher."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias, get_args

Backend: TypeAlias = Literal["auto", "reference", "chunked", "cpu", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)

_forced: ContextVar[Backend | None] = ContextVar("workbench_backend", default=None)


def _checked(name: str) -> Backend:
    for backend in get_args(Backend):
        if backend == name:
            found: Backend = backend
            return found
    raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")


@contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Compute everything inside with `backend`, where a call leaves it at ``"auto"``.

    Raises:
        ValueError: there is no such backend.
    """
    token = _forced.set(_checked(backend))
    try:
        yield
    finally:
        _forced.reset(token)


def resolve(backend: Backend) -> Backend:
    """The backend a call means: its argument, else the innermost `use_backend`, else ``$WORKBENCH_BACKEND``."""
    if backend != "auto":
        return _checked(backend)
    return _forced.get() or _checked(os.environ.get("WORKBENCH_BACKEND") or "auto")
