"""What a page shows while its value is computed, once it is there, and where it fails."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import workbench as wb
from workbench.app.serving import Job, Server, the_server
from workbench.app.serving import results as results_module
from workbench.errors import InputError
from workbench.progress import tracked

# What the page below computes; each test sets it.
WORK: dict[str, object] = {}
COUNT: list[int] = []


def page() -> None:
    import streamlit as st

    from tests.app.shell.test_computing import WORK
    from workbench.app.shell.computing import computed

    st.text(computed("reading the head", ("page", 1), WORK["work"]))


def page_of_a_model() -> None:
    import streamlit as st

    from tests.app.shell.test_computing import WORK
    from workbench.app.shell.computing import computed
    from workbench.app.shell.status import open_status

    open_status()
    st.text(computed("reading the head", ("page", st.query_params["head"]), WORK["work"]))


def page_whose_part_is_pressed_while_it_waits() -> None:
    import streamlit as st
    from streamlit.proto.WidgetStates_pb2 import WidgetStates
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    from tests.app.shell.test_computing import COUNT, WORK
    from workbench.app.shell.computing import computed

    @st.fragment
    def part() -> None:
        st.button("Press", on_click=COUNT.append, args=(1,))

    part()
    running = get_script_run_ctx()
    assert running is not None and running.script_requests is not None
    # What the browser sends for a press; it arrives while the page below waits for its value.
    pressed = WidgetStates()
    (button,) = running.shared.widget_ids_this_run.snapshot()
    pressed.widgets.add(id=button, trigger_value=True)
    (alone,) = running.shared.new_fragment_ids.snapshot()
    running.script_requests.request_rerun(RerunData(widget_states=pressed, fragment_id=alone))
    st.text(computed("reading the head", ("page", "pressed"), WORK["work"]))


@pytest.fixture
def opened(server: Server) -> Iterator[AppTest]:
    COUNT.clear()
    yield AppTest.from_function(page, default_timeout=60)
    for job in server.jobs.running():
        job.cancel()


def test_a_value_is_computed_once_for_all_sessions(opened: AppTest) -> None:
    def work(job: Job) -> str:
        COUNT.append(1)
        return "a value"

    WORK["work"] = work
    assert opened.run().text[0].value == "a value"
    assert opened.run().text[0].value == "a value"
    assert AppTest.from_function(page, default_timeout=60).run().text[0].value == "a value"
    assert len(COUNT) == 1


def test_what_a_user_got_wrong_is_a_sentence_and_can_be_tried_again(opened: AppTest) -> None:
    def work(job: Job) -> str:
        COUNT.append(1)
        if len(COUNT) == 1:
            raise InputError("Layer 9 is not there; this model has layers 0 to 3.")
        return "a value"

    WORK["work"] = work
    assert opened.run().error[0].value == "Layer 9 is not there; this model has layers 0 to 3."
    assert opened.run().error[0].value and len(COUNT) == 1
    assert opened.button[0].click().run().text[0].value == "a value"


def test_a_fault_is_named_without_its_details(opened: AppTest, caplog: pytest.LogCaptureFixture) -> None:
    def work(job: Job) -> str:
        raise RuntimeError("/home/someone/secret")

    WORK["work"] = work
    (said,) = opened.run().error
    assert said.value.startswith("RuntimeError while reading the head.") and "secret" not in said.value
    assert opened.run().error[0].value == said.value  # drawn again, it is not logged again
    assert "secret" in caplog.text and len([record for record in caplog.records if record.exc_info]) == 1


def counting(what: str) -> Callable[[Job], None]:
    """Work that ends only when it is cancelled."""

    def work(job: Job) -> None:
        for _ in tracked(iter(int, 1), False, what):
            time.sleep(0.001)  # else it would take the processor from the page that is looked at

    return work


endless = counting("counting")


def test_long_work_shows_a_bar_and_is_cancelled(opened: AppTest, server: Server) -> None:
    WORK["work"] = endless
    opened.run()
    assert opened.button[0].label == "Cancel" and not opened.text
    (job,) = server.jobs.running()
    opened.button[0].click().run()
    assert opened.info[0].value == "Cancelled: reading the head."
    assert job.wait(60)
    assert job.state == "cancelled"
    WORK["work"] = lambda job: "a value"
    assert opened.button[0].click().run().text[0].value == "a value"


def test_a_cancel_frees_the_page_at_once_where_the_work_cannot_stop_yet(opened: AppTest, server: Server) -> None:
    go_on = threading.Event()
    WORK["work"] = lambda job: go_on.wait(60)
    opened.run()
    (job,) = server.jobs.running()
    opened.button[0].click().run()
    assert opened.info[0].value == "Cancelled: reading the head."
    assert job.state == "cancelled" and job.ending
    WORK["work"] = lambda job: "a value"
    opened.button[0].click().run()  # waits for the first, which may write the same files
    assert opened.button[0].label == "Cancel" and not opened.info
    go_on.set()
    (job,) = server.jobs.running()
    assert job.wait(60)
    assert opened.run().text[0].value == "a value"


def test_one_session_cancels_and_the_other_still_waits(opened: AppTest, server: Server) -> None:
    WORK["work"] = endless
    other = AppTest.from_function(page, default_timeout=60)
    opened.run()
    other.run()
    (job,) = server.jobs.running()
    opened.button[0].click().run()
    assert opened.info[0].value == "Cancelled: reading the head."
    assert job.state == "running" and not job.ending


def test_each_session_sees_how_far_its_own_computation_is_and_cancels_that(server: Server) -> None:
    pages = []
    for head, what in enumerate(("counting sheep", "counting goats")):
        WORK["work"] = counting(what)
        pages.append(AppTest.from_function(page_of_a_model, default_timeout=60))
        pages[-1].query_params["head"] = str(head)
        pages[-1].run()
    told = [found.run().get("progress")[0].proto.text for found in pages]
    assert told[0].startswith("counting sheep · ") and told[1].startswith("counting goats · ")
    first, second = server.jobs.running()
    pages[1].button[0].click().run()
    assert (first.state, second.state) == ("running", "cancelled")
    first.cancel()


def test_work_goes_on_while_its_page_is_left_and_is_found_again(opened: AppTest) -> None:
    reached: list[int] = []

    def work(job: Job) -> str:
        while not reached:
            job.check()
            time.sleep(0.001)
        return "a value"

    WORK["work"] = work
    opened.run()
    (job,) = the_server().jobs.running()
    reached.append(1)
    assert job.wait(60)
    assert opened.run().text[0].value == "a value"


def test_a_value_too_large_to_keep_is_said(opened: AppTest, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.results = results_module.Results(room=2**20)
    WORK["work"] = lambda job: np.zeros(2**21, np.uint8)
    assert "takes 2 MB; the explorer keeps 1 MB at most" in opened.run().error[0].value


def test_the_sidebar_says_what_was_computed_and_what_was_kept(server: Server) -> None:
    WORK["work"] = lambda job: "a value"
    found = AppTest.from_function(page_of_a_model, default_timeout=60)
    found.query_params["head"] = "1"
    assert found.run().sidebar.caption[0].value.startswith("computed in ")
    assert found.run().sidebar.caption[0].value == "from the cache"


def page_of_counts() -> None:
    import streamlit as st

    from workbench.app.serving import the_server
    from workbench.app.shell.asking import Asked
    from workbench.app.shell.status import count_tokens, open_status, tell_status

    asked = Asked("zoo:attention", None, st.query_params["prompt"], st.query_params["prompt"])
    open_status()
    with the_server().models.lend(asked.model):
        count_tokens(the_server(), asked)
    tell_status(the_server(), asked, 0.0, kept=True)


def test_tokens_are_counted_prompt_by_prompt(server: Server) -> None:
    found = AppTest.from_function(page_of_counts, default_timeout=60)
    for prompt, count in (("the union", 3), ("the union of the people", 6)):
        found.query_params["prompt"] = prompt
        assert found.run().sidebar.caption[0].value == f"{count} tokens on cpu · from the cache"


def test_what_only_waits_for_a_model_is_given_up_for_the_next_that_is_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wb, "load", lambda source: f"model {source}")

    def work(job: Job) -> str:
        with the_server().models.lend("a"):
            return "a value"

    WORK["work"] = work
    found = AppTest.from_function(page_of_a_model, default_timeout=60)
    with server.models.lend("a"):
        found.query_params["head"] = "1"
        found.run()
        (first,) = server.jobs.running()
        found.query_params["head"] = "2"
        found.run()
        (second,) = server.jobs.running()
    assert first.state == "cancelled" and second is not first
    assert second.wait(60) and second.state == "done"


def test_what_is_pressed_while_a_page_waits_is_done(opened: AppTest) -> None:
    released = threading.Event()
    WORK["work"] = lambda job: released.wait(60)
    AppTest.from_function(page_whose_part_is_pressed_while_it_waits, default_timeout=60).run()
    released.set()
    assert COUNT == [1]
