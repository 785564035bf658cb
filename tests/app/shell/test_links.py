"""In a browser: a link restores the view it was copied from, and pages keep what the sidebar says."""

from typing import Any

from benchmarks.browser import Explorer, settled, visit
from workbench.app.serving import Workspace

MAIN = '[data-testid="stMain"]'
TEXT = "A house divided against itself cannot stand"


def prompt_in(page: Any) -> str:
    return str(page.get_by_label("Prompt", exact=True).input_value())


def model_in(page: Any) -> str:
    return str(page.locator(".st-key-model input").input_value())


def link_in(page: Any) -> str:
    """What the sidebar offers to copy."""
    page.get_by_role("button", name="Link").click()
    offered = page.locator('[data-testid="stPopoverBody"] code').inner_text()
    page.keyboard.press("Escape")
    return str(offered)


def test_the_address_alone_opens_a_page(explorer: Explorer, page: Any) -> None:
    page.goto(explorer.address())
    page.wait_for_url("**/attention*")
    settled(page)
    assert page.get_by_role("heading", name="Attention").is_visible()


def test_a_link_that_is_copied_restores_the_view_elsewhere(explorer: Explorer, page: Any, chromium: Any) -> None:
    visit(page, explorer.address("attention", model="zoo:mamba2", layer=2, head=1))
    page.get_by_label("Prompt", exact=True).fill(TEXT)
    page.get_by_role("button", name="Run").click()
    settled(page)
    linked = link_in(page)
    assert "divided" not in page.url and "divided" not in linked
    context = chromium.new_context()
    try:
        other = context.new_page()
        visit(other, linked)
        assert prompt_in(other) == TEXT
        assert model_in(other) == "zoo:mamba2"
        assert other.get_by_label("Head", exact=True).input_value() == "1"
        assert (
            other.locator('[data-testid="stMain"]').inner_text() == page.locator('[data-testid="stMain"]').inner_text()
        )
    finally:
        context.close()


def test_another_page_keeps_model_and_prompt_and_names_them_in_its_link(explorer: Explorer, page: Any) -> None:
    prompt = Workspace(explorer.workspace).keep_prompt(TEXT)
    visit(page, explorer.address("models", model="zoo:gla", prompt=prompt))
    page.get_by_role("link", name="Studies").first.click()
    page.wait_for_url("**/studies*")
    settled(page)
    assert prompt_in(page) == TEXT and model_in(page) == "zoo:gla"
    assert f"prompt={prompt}" in page.url and "model=zoo%3Agla" in page.url
    page.reload()
    settled(page)
    assert prompt_in(page) == TEXT and model_in(page) == "zoo:gla"


def test_a_link_to_a_model_that_is_none_is_a_sentence_and_what_is_typed_then_counts(
    explorer: Explorer, page: Any
) -> None:
    prompt = Workspace(explorer.workspace).keep_prompt(TEXT)
    strange = "[Log in](https://elsewhere.example) ![x](https://elsewhere.example/x.png)"
    visit(page, explorer.address("attention", model=strange, prompt=prompt))  # which asks no other machine for anything
    said = page.get_by_test_id("stAlert").first
    assert strange in said.inner_text() and said.locator("a", has_text="Log in").count() == 0
    assert prompt_in(page) == TEXT
    page.get_by_label("Prompt", exact=True).fill("Of the people")
    page.get_by_role("button", name="Run").click()
    settled(page)
    assert prompt_in(page) == "Of the people"


def test_in_a_long_text_the_exact_window_follows_the_token_that_is_chosen(explorer: Explorer, page: Any) -> None:
    prompt = Workspace(explorer.workspace).keep_prompt("The state of the Union is strong. " * 80)
    visit(page, explorer.address("attention", model="zoo:attention", prompt=prompt, layer=1, head=2, window="9.9"))
    page.locator(".strip .tok").nth(500).click()
    page.wait_for_url("**token=500**")
    settled(page)
    assert "window=" not in page.url
