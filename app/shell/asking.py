"""The sidebar: which models, which prompt. What it says is what every page looks at."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st

from workbench.app.serving import Server, the_server
from workbench.app.shell.ending import end_page
from workbench.app.shell.prompts import EXAMPLES, PROMPT
from workbench.app.shell.status import open_status
from workbench.app.shell.wording import plain
from workbench.errors import InputError

OFF = "off"

_ASKED, _LINKED, _UNKNOWN, _LINK, _OFFERED = "_asked", "_linked", "_unknown", "_link", "_offered"

_PROMPT, _SET = "_prompt", "_prompt-set"
"""The prompt that is looked at; and how often an example or a link has set it, with what the box then begins with.

A box that is set gets a new key and begins with the text. Were the text put into the session under the box's key
instead, a page that is drawn again before the browser has come to it would lose it, and show an empty box.
"""


@dataclass(frozen=True)
class Asked:
    """What a session looks at.

    Attributes:
        model, other: sources as `workbench.load` takes them; `other` is None where there is no model B.
        prompt: the text, and `prompt_id` its name in links and result keys.
    """

    model: str
    other: str | None
    prompt: str
    prompt_id: str

    @property
    def models(self) -> tuple[str, ...]:
        """Model A, and B where there is one."""
        return (self.model,) if self.other is None else (self.model, self.other)


def sidebar() -> Asked:
    """Draw the sidebar and return what it asks for; nothing is computed while somebody types.

    What cannot be opened is said in a sentence in the place of the page.
    """
    server = the_server()
    _follow_link(server)
    offered = server.sources.offered()
    # A model that is chosen is looked at at once; a prompt only when somebody is done with writing it.
    with st.sidebar:
        model = st.selectbox(
            "Model A",
            offered,
            key="model",
            bind="query-params",
            accept_new_options=True,
            help="A model of the zoo, or type a hub id such as gpt2, or the path of a directory or .gguf file in the "
            "workspace.",
        )
        other = st.selectbox(
            "Model B",
            (OFF, *offered),
            key="other",
            bind="query-params",
            accept_new_options=True,
            help="To compare with.",
        )
    with st.sidebar.form("asked-form", border=False):
        times, first = st.session_state[_SET]
        box = f"prompt-{times}"
        st.text_area("Prompt", first, key=box, height=140)
        st.form_submit_button("Run", type="primary", width="stretch", on_click=_run, args=(box,))
    with st.sidebar.container(horizontal=True):
        with st.popover("Examples", help="Prompts to begin with"):
            for name, text in EXAMPLES.items():
                st.button(name, key=f"example-{name}", on_click=_take, args=(text,), type="tertiary")
        st.session_state[_LINK] = st.popover("Link", help="A link to this view")
        st.session_state[_OFFERED] = False
    open_status()
    prompt = str(st.session_state[_PROMPT]).encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    try:
        found = Asked(
            server.sources.checked(str(model)),
            None if other == OFF else server.sources.checked(str(other)),
            prompt,
            server.workspace.keep_prompt(prompt),
        )
    except InputError as error:
        st.error(plain(str(error)))
        end_page()
    if st.query_params.get("prompt") != found.prompt_id and (found.prompt != PROMPT or "prompt" in st.query_params):
        st.query_params["prompt"] = found.prompt_id
    st.session_state[_LINKED] = found.prompt_id
    st.session_state[_ASKED] = found
    return found


def offer_link() -> None:
    """Fill the sidebar's link, once the page's controls have put what they show into the address.

    The link is whole, what is at its default included: another server may have been started with other models.
    """
    found = asked_or_none()
    if found is None or st.session_state.get(_OFFERED):
        return
    st.session_state[_OFFERED] = True
    chosen = {name: str(st.session_state.get(name, OFF)) for name in ("model", "other")}
    said = {**st.query_params.to_dict(), **chosen, "prompt": found.prompt_id}
    with st.session_state[_LINK]:
        st.code(f"{(st.context.url or '').partition('?')[0]}?{urlencode(said)}", language=None, wrap_lines=True)
        st.caption("It opens this view wherever the same workspace is open.")


def renew_link() -> None:
    """`offer_link` for a part of a page that is drawn alone: what it offered before is offered no longer."""
    st.session_state[_OFFERED] = False
    offer_link()


def asked() -> Asked:
    """What the sidebar asks for."""
    found = asked_or_none()
    assert found is not None
    return found


def asked_or_none() -> Asked | None:
    """What the sidebar asks for, or None where a page is drawn without it."""
    found = st.session_state.get(_ASKED)
    assert found is None or isinstance(found, Asked)
    return found


def model_named(letter: str) -> str:
    """The source of model A or B, for code that needs it by letter."""
    found = asked()
    return found.model if letter == "A" or found.other is None else found.other


def _run(box: str) -> None:
    st.session_state[_PROMPT] = st.session_state[box]


def _take(text: str) -> None:
    st.session_state[_PROMPT] = text
    st.session_state[_SET] = (st.session_state.get(_SET, (0, ""))[0] + 1, text)


def _follow_link(server: Server) -> None:
    """Show the prompt that a link names: at the first run, and whenever the link is another than this session made."""
    linked = st.query_params.get("prompt")
    if linked is not None and linked != st.session_state.get(_LINKED):
        st.session_state[_LINKED] = linked  # also where the page ends with an error: what is typed then counts
        text = server.workspace.prompt(linked)
        st.session_state[_UNKNOWN] = linked if text is None else None
        if text is not None:
            _take(text)
    if _PROMPT not in st.session_state:
        _take(PROMPT)
    if unknown := st.session_state.get(_UNKNOWN):
        st.sidebar.warning(plain(f"The link asked for the prompt {unknown[:40]!r}, which is not in this workspace."))
