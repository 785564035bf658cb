"""The sidebar: what a link and a typed model may ask for, and how it is answered."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from workbench.app.serving import Server
from workbench.app.shell.prompts import EXAMPLES, PROMPT

HOSTILE = """<script>alert("1")</script> 'quoted' $x^2$ **bold** :red[x] \u202eright to left\u200b"""


def page() -> None:
    import streamlit as st

    from workbench.app.shell.asking import offer_link, sidebar

    found = sidebar()
    st.json({"model": found.model, "other": found.other, "prompt": found.prompt, "id": found.prompt_id})
    offer_link()


def opened(**asked: str) -> AppTest:
    found = AppTest.from_function(page, default_timeout=60)
    for name, value in asked.items():
        found.query_params[name] = value
    return found.run()


def type_in(found: AppTest, text: str) -> None:
    """Type a prompt and press Run; nothing is computed before."""
    found.text_area[0].set_value(text)
    assert seen(found.run())["prompt"] == PROMPT
    found.text_area[0].set_value(text)
    next(button for button in found.button if button.label == "Run").click().run()


def seen(found: AppTest) -> dict[str, str | None]:
    import json

    answer: dict[str, str | None] = json.loads(found.json[0].value)
    return answer


def test_it_opens_on_a_worked_example(server: Server) -> None:
    found = seen(opened())
    assert (found["model"], found["other"], found["prompt"]) == ("zoo:attention", None, PROMPT)


def test_a_prompt_is_named_in_the_link_and_comes_back_by_it(server: Server) -> None:
    found = opened()
    type_in(found, "four score and seven")
    linked = found.query_params["prompt"]
    again = opened(model="zoo:mamba", other="zoo:gla", prompt=linked[0] if isinstance(linked, list) else linked)
    assert seen(again) == {
        "model": "zoo:mamba",
        "other": "zoo:gla",
        "prompt": "four score and seven",
        "id": seen(found)["id"],
    }
    assert f"prompt={seen(found)['id']}" in again.code[0].value and "other=zoo%3Agla" in again.code[0].value


def test_another_link_in_the_same_session_is_followed(server: Server) -> None:
    first, second = server.workspace.keep_prompt("first"), server.workspace.keep_prompt("second")
    found = opened(prompt=first)
    found.query_params["prompt"] = second
    assert seen(found.run())["prompt"] == "second"


def test_a_prompt_of_another_workspace_is_said(server: Server) -> None:
    found = opened(prompt="0123456789ab")
    assert seen(found)["prompt"] == PROMPT
    assert (
        found.sidebar.warning[0].value
        == "The link asked for the prompt '0123456789ab', which is not in this workspace."
    )


def test_a_hostile_prompt_is_kept_as_it_is(server: Server) -> None:
    found = opened()
    type_in(found, HOSTILE)
    assert seen(found)["prompt"] == HOSTILE
    assert "script" not in str(found.query_params)


def test_a_file_outside_is_refused_with_the_remedy(server: Server, tmp_path: Path) -> None:
    found = opened(model="/etc/passwd")
    assert not found.json
    (said,) = found.error
    assert said.value.startswith("'/etc/passwd' is no model in the workspace") and "--model PATH" in said.value


def test_a_prompt_too_long_is_a_sentence(server: Server) -> None:
    found = opened()
    type_in(found, "a" * 200_001)
    assert "200,001 characters; at most 200,000" in found.error[0].value


def test_an_example_is_taken_by_a_click(server: Server) -> None:
    found = opened()
    found.button(key="example-Counting").click().run()
    assert seen(found)["prompt"] == EXAMPLES["Counting"]


def test_sessions_do_not_see_each_others_prompts(server: Server) -> None:
    mine, other = opened(), opened()
    type_in(mine, "only mine")
    assert seen(mine)["prompt"] == "only mine"
    assert seen(other.run())["prompt"] == PROMPT
    assert "only mine" not in str(other)
