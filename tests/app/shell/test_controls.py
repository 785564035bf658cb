"""Controls live in the link, say where it asked for something else, and are stepped through by keys."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest


def page() -> None:
    import streamlit as st

    from workbench.app.shell.controls import choice, number, switch, text

    layer = number("Layer", 0, 3, "layer", default=1, steps=True)
    kind = choice("Kind", ["induction", "copying"], "kind", default="copying")
    shown = switch("Baseline", "baseline", shortcut="B")
    st.code(f"{layer} {kind} {shown} {text('Search', 'search')}")


def opened(**asked: Any) -> AppTest:
    found = AppTest.from_function(page, default_timeout=60)
    for name, value in asked.items():
        found.query_params[name] = value
    return found.run()


def following() -> None:
    import streamlit as st

    from workbench.app.shell.controls import choice, number

    best = st.session_state["best"]
    st.code(
        f"{number('Head', 0, 9, 'head', default=best)} {choice('Layer', ['0', '1', '2'], 'layer', default=str(best))}"
    )


def test_a_control_that_nobody_moved_shows_what_it_begins_with_now() -> None:
    found = AppTest.from_function(following, default_timeout=60)
    found.session_state["best"] = 1
    assert found.run().code[0].value == "1 1"
    found.session_state["best"] = 2  # of another model
    assert found.run().code[0].value == "2 2"
    found.number_input(key="head").set_value(7).run()
    found.session_state["best"] = 0
    assert found.run().code[0].value == "7 0"


def chosen_elsewhere() -> None:
    import streamlit as st

    from workbench.app.shell.controls import choice, number, put

    def chose() -> None:
        put("layer", "0")
        put("head", 1)

    layer = choice("Layer", ["0", "1"], "layer", default="1")
    st.code(f"{layer} {number('Head', 0, 3, 'head', default=int(layer))}")
    st.button("L0H1", on_click=chose)


def test_what_is_clicked_elsewhere_counts_as_moved_also_where_it_is_what_a_control_began_with() -> None:
    found = AppTest.from_function(chosen_elsewhere, default_timeout=60).run()
    assert found.code[0].value == "1 1"
    assert found.button[0].click().run().code[0].value == "0 1"
    assert found.run().code[0].value == "0 1"


@pytest.mark.parametrize("left", [2, "2"])
def test_what_another_page_left_under_the_same_name_is_taken_whatever_its_type(left: object) -> None:
    found = AppTest.from_function(following, default_timeout=60)
    found.session_state["best"] = 1
    found.session_state["layer"] = left
    assert found.run().code[0].value == "1 2"


def test_a_link_sets_the_controls() -> None:
    found = opened(layer="2", kind="induction", baseline="true", search="the union")
    assert found.code[0].value == "2 induction True the union"
    assert not found.text


@pytest.mark.parametrize(
    ("name", "asked", "sentence"),
    [
        ("layer", "77", "The link asked for Layer = '77'; there is 0 to 3. Showing 1."),
        ("layer", "x**y**", "The link asked for Layer = 'x**y**'; there is 0 to 3. Showing 1."),
        ("kind", "unheard", "The link asked for Kind = 'unheard'. Showing copying."),
    ],
)
def test_what_the_link_asked_for_is_said_until_another_is_chosen(name: str, asked: str, sentence: str) -> None:
    found = opened(**{name: asked})
    assert found.code[0].value == "1 copying False "
    assert [text.value for text in found.text] == [sentence]
    assert [text.value for text in found.run().text] == [sentence]
    if name == "layer":
        found.number_input[0].set_value(3).run()
    else:
        found.selectbox[0].set_value("induction").run()
    assert not found.text


def test_steps_go_to_the_one_before_and_after_and_stop_at_the_ends() -> None:
    found = opened()
    before, after = (button for button in found.button if button.key.endswith("-layer"))
    after.click().run()
    assert found.code[0].value.startswith("2 ")
    before, after = (button for button in found.button if button.key.endswith("-layer"))
    after.click().run()
    before, after = (button for button in found.button if button.key.endswith("-layer"))
    assert after.disabled and not before.disabled
    before.click().run()
    assert found.code[0].value.startswith("2 ")


def test_a_switch_with_a_key_has_a_button() -> None:
    found = opened()
    found.button(key="turn-baseline").click().run()
    assert found.code[0].value == "1 copying True "
    found.button(key="turn-baseline").click().run()
    assert found.code[0].value == "1 copying False "


def pages() -> None:
    import streamlit as st

    from workbench.app.shell.controls import choice

    other = st.toggle("Other page")
    layer = choice("Layer", [1, 2, 3], "layer") if other else choice("Layer", ["0", "1", "2"], "layer", default="2")
    st.code(repr(layer))


def test_a_choice_of_another_page_is_taken_over_by_what_it_is_called() -> None:
    found = AppTest.from_function(pages, default_timeout=60).run()
    assert found.code[0].value == "'2'"
    assert found.toggle[0].set_value(True).run().code[0].value == "2"
    found = AppTest.from_function(pages, default_timeout=60).run()
    found.selectbox[0].set_value("0").run()
    assert found.toggle[0].set_value(True).run().code[0].value == "1"  # this page has no 0
