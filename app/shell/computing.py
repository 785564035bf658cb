"""Computing for a page: from the cache, or in a thread of the server with progress, a time left, a way to stop."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import streamlit as st

from workbench.app.serving import Job, Server, the_server
from workbench.app.serving.sources import called
from workbench.app.shell.asking import Asked, asked_or_none
from workbench.app.shell.ending import end_page
from workbench.app.shell.session import session_name
from workbench.app.shell.status import count_tokens, tell_status
from workbench.app.shell.wording import plain
from workbench.errors import InputError, WorkbenchError

T = TypeVar("T")

QUIETLY = 0.8
"""Seconds a page waits before it shows that it waits."""

POLL = 0.25
"""Seconds between two looks at a job."""

_GIVEN_UP = "_given-up"
_LAST = "_last-job"


def computed(label: str, key: tuple[Hashable, ...], work: Callable[[Job], T]) -> T:
    """The value of a key: kept from before, or computed now.

    While it is computed the page shows how far it is and a button that cancels it, and ends there (`end_page`); it is
    drawn again when the value is there. It goes on when the page is left, and is found when the page is opened again.
    What fails becomes a sentence on the page. Two sessions that ask for the same share one computation, and it is
    cancelled when neither wants it any more.

    Args:
        label: what is being done, for people: ``"finding induction heads"``.
        key: all that the value depends on, in small values: page, model source, prompt id, layer, ...
        work: makes the value, in another thread: it may use no Streamlit and no session state. Take models by
            ``with the_server().models.lend(source) as model``. Loops of the library that show a bar report and can be
            cancelled by themselves; loops of your own call ``job.check()``.
    """
    server, session, asked = the_server(), session_name(), asked_or_none()
    job = server.jobs.find(key)
    there, value = server.results.get(key)
    given_up = False
    if not there:
        if job is None or job.state == "done":  # its value went when others' results took the room
            job = _ask(server, session, asked, label, key, work)
        given_up = job.job_id == st.session_state.get(_GIVEN_UP)
        if not given_up:
            job.looked_at(session)
            if not job.wait(QUIETLY):
                _watch(server, job, session)
                end_page()
            there, value = server.results.get(key)
    if there:
        waited = job is not None and job.told(session)
        tell_status(server, asked, job.seconds if job is not None and waited else 0.0, kept=not waited)
        return value  # type: ignore[no-any-return]
    assert job is not None
    if job.state == "done":
        st.rerun()
    _say_why(server, job, given_up)
    if st.button("Try again", key=f"again-{job.job_id}"):
        st.session_state.pop(_GIVEN_UP, None)
        server.jobs.forget(key)
        st.rerun()
    end_page()


def _ask(
    server: Server,
    session: str,
    asked: Asked | None,
    label: str,
    key: tuple[Hashable, ...],
    work: Callable[[Job], Any],
) -> Job:
    """Have it computed."""
    last: Any = st.session_state.get(_LAST)
    earlier = server.jobs.find(last) if last is not None and last[0] == key[0] else None
    if earlier is not None and earlier.state == "running" and server.models.ahead(earlier.thread):
        earlier.given_up(session)  # asked for on the same page before, and it only waits for the model yet
    st.session_state[_LAST] = key
    try:
        return server.jobs.ask(key, label, _keeping(server, key, asked, work))
    except InputError as refused:
        st.error(plain(str(refused)))
        end_page()


def _keeping(server: Server, key: Hashable, asked: Asked | None, work: Callable[[Job], T]) -> Callable[[Job], None]:
    """The work, with its value kept in the one place that is bounded."""

    def run(job: Job) -> None:
        server.results.put(key, work(job))
        if asked is not None:
            count_tokens(server, asked)

    return run


def _say_why(server: Server, job: Job, given_up: bool) -> None:
    """Say why there is no value."""
    if given_up or job.state == "cancelled":
        loading = server.models.loading if job.ending else None
        st.info(
            f"Cancelled: {job.label}."
            + (f" {called(loading)} is loaded to the end first, and other models wait for that." if loading else "")
        )
    elif isinstance(job.error, WorkbenchError):
        st.error(plain(str(job.error)))
    else:
        st.error(
            f"{type(job.error).__name__} while {job.label}. This is a fault of the workbench; the server's log has it."
        )


def _watch(server: Server, job: Job, session: str) -> None:
    @st.fragment(run_every=POLL)
    def shown() -> None:
        if job.state != "running":
            st.rerun()
        job.looked_at(session)
        st.progress(min(1.0, job.done / job.total) if job.total else 0.0, text=_told(server, job))
        if st.button("Cancel", key=f"cancel-{job.job_id}"):
            job.given_up(session)
            st.session_state[_GIVEN_UP] = job.job_id
            st.rerun()

    shown()


def _told(server: Server, job: Job) -> str:
    """What a job is at, in a line."""
    ahead, loading, left = server.models.ahead(job.thread), server.models.loading, job.seconds_left
    text = f"{job.what or job.label} · {job.seconds:.0f} s"
    if ahead:
        return text + f" · {ahead} before it" + (f", {called(loading)} is being loaded" if loading else "")
    return text if left is None or left < 0.5 else text + f" · {left:.0f} s left"
