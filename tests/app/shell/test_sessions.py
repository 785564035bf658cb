"""In a browser: ten sessions at once, text that is code elsewhere, a cancel, a server that dies and comes back."""

import re
import signal
from pathlib import Path
from typing import Any

from benchmarks.browser import PATIENCE, Explorer, settled, visit
from tests.app.shell.test_links import model_in, prompt_in
from workbench.app.serving import Workspace

HOSTILE = (
    """</textarea><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"> """
    """"two" 'one' $x^2$ **bold** :red[x] \u202egpj.exe"""
)

APP = '[data-testid="stApp"]'

# Tokens of their own in the zoo's vocabulary.
WORDS = ("peace", "war", "tax", "law", "land", "children", "history", "money", "farm", "energy")


def test_text_that_would_be_code_is_text(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("attention", layer=1, head=0))
    page.get_by_label("Prompt", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Run").click()
    settled(page)
    assert prompt_in(page) == HOSTILE
    assert page.get_by_text("script", exact=False).count() > 1  # in the strips, which lie in shadow roots, too
    for name in ("Code", "Method"):
        page.get_by_role("button", name=name).first.click()
        settled(page)
        page.keyboard.press("Escape")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def text_of(word: str) -> str:
    """A text of one word, so that whichever token a page opens on is that word."""
    return " ".join([word] * 5)


def heading_of(page: Any, word: str) -> bool:
    """Whether the page shows what a token reads, and it is that word."""
    return bool(page.get_by_text(re.compile(rf"^Token \d+ “.?{word}” reads from$")).count())


def test_ten_sessions_at_once_see_each_their_own(explorer: Explorer, chromium: Any) -> None:
    workspace = Workspace(explorer.workspace)
    context = chromium.new_context()
    try:
        pages = [context.new_page() for _ in WORDS]
        for number, (page, word) in enumerate(zip(pages, WORDS, strict=True)):
            asked = {"prompt": workspace.keep_prompt(text_of(word)), "layer": number % 4, "head": 0}
            page.goto(explorer.address("attention", **asked))
        for page in pages:
            settled(page)
        for page, word in zip(pages, WORDS, strict=True):
            assert prompt_in(page) == text_of(word)
            assert [heading_of(page, other) for other in WORDS] == [other == word for other in WORDS]
    finally:
        context.close()


def test_a_long_computation_is_cancelled(explorer: Explorer, page: Any) -> None:
    visit(page, explorer.address("heads", model="zoo:mamba"))
    page.get_by_role("button", name="Run finder").click()
    page.get_by_role("button", name="Cancel").click(timeout=1000 * PATIENCE)
    page.get_by_text("Cancelled: ").wait_for(timeout=1000 * PATIENCE)
    settled(page)
    assert page.get_by_role("button", name="Try again").is_visible()


def test_a_server_that_was_killed_gives_the_view_back_when_it_is_there_again(tmp_path: Path, chromium: Any) -> None:
    explorer = Explorer(tmp_path).start()
    page = chromium.new_page()
    try:
        prompt = Workspace(tmp_path).keep_prompt("We the people")
        visit(page, explorer.address("studies", model="zoo:gla", prompt=prompt))
        explorer.stop(signal.SIGKILL)
        page.wait_for_function(f"() => document.querySelector('{APP}').dataset.testConnectionState !== 'CONNECTED'")
        explorer.start()
        settled(page)  # the page finds the server by itself
        assert prompt_in(page) == "We the people" and model_in(page) == "zoo:gla"
        page.reload()
        settled(page)
        assert prompt_in(page) == "We the people" and model_in(page) == "zoo:gla"
    finally:
        page.close()
        explorer.stop()
