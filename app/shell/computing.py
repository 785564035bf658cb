"""Computing for a page: from the cache, or in a thread of the server with progress, a time left, a way to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import TypeVar

import streamlit as st

from workbench.app.serving import Job, the_server
from workbench.errors import WorkbenchError

T = TypeVar("T")

QUIETLY = 0.8
"""Seconds a page waits before it shows that it waits."""

POLL = 0.3
"""Seconds between two looks at a job."""

_log = logging.getLogger("workbench.app")


def computed(label: str, key: tuple[Hashable, ...], work: Callable[[Job], T]) -> T:
    """The value of a key: kept from before, or computed now.

    While it is computed the page shows how far it is and a button that cancels it, and ends there (`st.stop`); it is
    drawn again when the value is there. What fails becomes a sentence on the page.

    Args:
        label: what is being done, for people: ``"finding induction heads"``.
        key: all that the value depends on, in small values: page, model source, prompt id, layer, ...
        work: makes the value, in another thread: it may use no Streamlit and no session state. Take models by
            ``with the_server().models.lend(source) as model``. Loops of the library that show a bar report and can be
            cancelled by themselves; loops of your own call ``job.check()``.
    """
    server = the_server()
    there, value = server.results.get(key)
    if there:
        return value  # type: ignore[no-any-return]
    job = server.jobs.find(key)
    if job is None:
        job = server.jobs.ask(key, label, work)
    if not job.wait(QUIETLY):
        _watch(key, job)
        st.stop()
    if job.state == "done":
        server.results.put(key, job.result)
        server.jobs.forget(key)
        return job.result  # type: ignore[no-any-return]
    if job.state == "cancelled":
        st.info(f"Cancelled: {job.label}.")
    elif isinstance(job.error, WorkbenchError):
        st.error(str(job.error))
    else:
        _log.error("while %s", job.label, exc_info=job.error)
        st.error(
            f"{type(job.error).__name__} while {job.label}. This is a fault of the workbench; the server's log has it."
        )
    if st.button("Try again", key=f"again-{job.job_id}"):
        server.jobs.forget(key)
        st.rerun()
    st.stop()


def _watch(key: Hashable, job: Job) -> None:
    @st.fragment(run_every=POLL)
    def shown() -> None:
        if job.state != "running":
            st.rerun()
        waiting = the_server().models.waiting
        left = job.seconds_left
        said = job.what or job.label
        ahead = f" · {waiting} waiting for the model" if waiting else ""
        time_left = f" · {left:.0f} s left" if left is not None else ""
        text = f"{said} · {job.seconds:.0f} s{time_left}{ahead}"
        st.progress(min(1.0, job.done / job.total) if job.total else 0.0, text=text)
        if st.button("Cancel", key=f"cancel-{job.job_id}", disabled=job.cancelling):
            job.cancel()

    shown()
