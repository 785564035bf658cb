"""The page Features in a browser: found, read, named, tried, steered; built; what looks like markup stays text."""

import shutil

import pytest

import workbench as wb
from benchmarks.browser import PATIENCE, settled, visit, width_needed
from workbench.app.views.features.facts import facts_of
from workbench.app.views.features.proposing import proposal
from workbench.app.views.features.steering import LEVELS, Steer, steered
from workbench.app.views.features.stores import open_store
from workbench.app.views.features.trying import text_features
from workbench.figures.tokens import visible_text, visible_token
from workbench.saes import load_sae, save_sae
from workbench.saes.features import FeatureQuery

NAME = "features-tests/hostile"
HOSTILE_LABEL = '<img src=x onerror="window.hacked=1"> **bold** :red[x] $x^2$ <script>window.hacked=1</script>'


@pytest.fixture
def store(explorer, hostile_store):
    """A copy of the store in the explorer's workspace, which is taken away again."""
    plan, workspace = hostile_store
    folder = explorer.workspace / NAME
    shutil.copytree(workspace.root / plan.name, folder)
    yield open_store(folder)
    shutil.rmtree(folder.parent)


@pytest.fixture
def script_feature(store):
    found = store.store.search("script", "examples")
    return int(found.sort_values("value")["feature"].iloc[-1])


def await_feature(page, number):
    """Wait until a feature is shown, however late the server is."""
    page.get_by_role("heading", name=f"Feature {number}", exact=True).wait_for(timeout=1000 * PATIENCE)
    settled(page)


def options(page, name="Features; click one"):
    """The rows of a list, once they are drawn."""
    found = page.get_by_role("listbox", name=name).get_by_role("option")
    found.first.wait_for(timeout=1000 * PATIENCE)
    return found


def only(folder, pattern):
    """The one path in a folder that a pattern fits."""
    (found,) = folder.glob(pattern)
    return found


def test_what_looks_like_markup_is_text(explorer, page, store, script_feature):
    store.store.labels.set(script_feature, HOSTILE_LABEL)
    visit(page, explorer.address("features", store=NAME, feature=script_feature, q="onerror"))
    await_feature(page, script_feature)
    assert options(page).all_inner_texts()[0].splitlines()[1] == HOSTILE_LABEL
    assert page.get_by_label("Label", exact=True).input_value() == HOSTILE_LABEL
    examples = "".join(page.locator(".wb-example").all_inner_texts())
    assert all(piece in examples for piece in ('alert("x")</script>', "**bold", "$x^2$", "'quoted'"))
    assert page.locator(".wb-example").locator("script, b, strong, .katex").count() == 0
    assert page.evaluate("window.hacked") is None


def test_features_are_found_turned_over_and_named_and_the_link_restores_them(explorer, page, store):
    visit(page, explorer.address("features", store=NAME, q="the", sort="density, most often first"))
    numbers = [int(one.split()[0]) for one in options(page).all_inner_texts()]
    table = store.store.features().set_index("feature")["density"]
    assert len(numbers) > 5 and table[numbers].is_monotonic_decreasing
    options(page).nth(1).click()
    await_feature(page, numbers[1])
    page.keyboard.press("j")
    await_feature(page, numbers[2])
    label = page.get_by_label("Label", exact=True)
    label.click()
    label.press_sequentially("jk typed here turn no page")
    label.press("Enter")
    page.get_by_text("Labelled by a person").wait_for(timeout=1000 * PATIENCE)
    found = store.store.labels.get(numbers[2])
    assert found.label == "jk typed here turn no page" and found.source == "human"
    address = page.url
    page.goto("about:blank")
    visit(page, address)
    await_feature(page, numbers[2])
    assert page.get_by_label("Search", exact=True).input_value() == "the"
    assert page.get_by_label("Label", exact=True).input_value() == found.label


def test_the_list_begins_with_the_most_telling_and_what_is_searched_for_is_shown(explorer, page, store):
    visit(page, explorer.address("features", store=NAME))
    await_feature(page, store.telling)
    assert options(page).first.inner_text().split()[0] == str(store.telling)
    said = page.get_by_test_id("stMain").inner_text()
    assert "the most telling first" in said
    words = store.names([store.telling])[store.telling]
    assert options(page).first.inner_text().splitlines()[1] == visible_text(words)
    search = page.get_by_label("Search", exact=True)
    holds = {
        number: list(store.store.top_tokens(number)["token"]) for number in store.features(FeatureQuery()).tolist()
    }
    named = [token for tokens in holds.values() for token in tokens if token.strip().isalpha() and len(token) > 4]
    word = next(token.strip() for token in named if not any(token in one for one in holds[store.telling]))
    found = store.features(FeatureQuery(text=word, by="match")).tolist()
    assert store.telling not in found
    search.fill(word)
    search.press("Enter")
    await_feature(page, found[0])
    search.fill("")
    search.press("Enter")
    settled(page)
    await_feature(page, found[0])  # it is in the list again, and stays


def test_a_text_is_tried_and_a_click_goes_to_its_features(explorer, page, store):
    visit(page, explorer.address("features", store=NAME, panel="Try a text"))
    first = options(page, "Features that fire").first
    number = first.inner_text().split()[0]
    first.click()
    await_feature(page, number)


def test_a_text_of_ones_own_is_tried_and_the_link_restores_it(explorer, page, store):
    visit(page, explorer.address("features", store=NAME, panel="Try a text"))
    shown = page.get_by_role("heading", name="Feature ").last.inner_text()
    text = 'j k "Congress" <b>met</b> 漢'
    box = page.get_by_label("Text", exact=True)
    assert box.input_value() == page.get_by_label("Prompt", exact=True).input_value()
    box.fill("")
    box.press_sequentially(text)
    assert page.get_by_role("heading", name="Feature ").last.inner_text() == shown
    page.get_by_role("button", name="Try it").click()
    page.get_by_role("button", name="Back to the sidebar's prompt").wait_for(timeout=1000 * PATIENCE)
    settled(page)
    expected = text_features(wb.load("zoo:attention"), store, text)
    assert page.get_by_role("heading", name="Feature ").last.inner_text() == shown
    tokens = page.get_by_role("listbox", name="at each token of the text").get_by_role("option").all_inner_texts()
    assert [one.strip() for one in tokens] == [visible_token(one) for one in expected.tokens]
    assert options(page, "Features that fire").first.inner_text().split()[0] == str(
        expected.strongest(store.largest, 1)[0][0]
    )
    address = page.url
    page.goto("about:blank")
    visit(page, address)
    assert page.get_by_label("Text", exact=True).input_value() == text
    page.get_by_role("button", name="Back to the sidebar's prompt").click()
    page.get_by_role("button", name="Back to the sidebar's prompt").wait_for(state="detached", timeout=1000 * PATIENCE)
    settled(page)
    assert page.get_by_label("Text", exact=True).input_value() == page.get_by_label("Prompt", exact=True).input_value()
    assert "try=" not in page.url


def test_a_label_is_proposed_and_a_persons_label_is_safe_from_that(explorer, page, store, script_feature):
    visit(page, explorer.address("features", store=NAME, feature=script_feature))
    page.get_by_role("button", name="Propose a label").click()
    page.get_by_text("Labelled automatically, from tokens and logits").wait_for(timeout=1000 * PATIENCE)
    settled(page)
    label = page.get_by_label("Label", exact=True)
    kept = store.store.labels.get(script_feature)
    assert kept.source == "auto" and label.input_value() == kept.label == proposal(store, script_feature).label
    label.fill("mine")
    label.press("Enter")
    page.get_by_text("Labelled by a person").wait_for(timeout=1000 * PATIENCE)
    settled(page)
    assert page.get_by_role("button", name="Propose a label").is_disabled()
    assert store.store.labels.get(script_feature).label == "mine"


def test_steered_texts_are_those_of_the_library(explorer, page, store):
    facts = facts_of(store, store.telling)
    visit(page, explorer.address("features", store=NAME, panel="Steer", **{"steer-tokens": 8}))
    # Form and label are seen together: nothing of the other panels stands between.
    label, form = page.get_by_label("Label", exact=True), page.get_by_test_id("stForm").last
    assert 0 < form.bounding_box()["y"] - label.bounding_box()["y"] < 300
    page.get_by_role("button", name="Steer", exact=True).click()
    page.get_by_text("Unsteered", exact=True).wait_for(timeout=1000 * PATIENCE)
    settled(page)
    prompt = page.get_by_label("Prompt", exact=True).input_value()
    expected = steered(wb.load("zoo:attention"), store, facts.feature, facts.most, prompt, Steer(tokens=8))
    texts = [one.strip() for one in page.get_by_test_id("stMain").get_by_test_id("stText").all_inner_texts()]
    assert texts[-4:] == [one.strip() for one in expected.texts]
    main = page.get_by_test_id("stMain")
    assert main.inner_text().count("the same text as unsteered") == expected.texts[1:].count(expected.texts[0])
    assert all(main.get_by_text(f"{name}: +").count() == 1 for name in LEVELS)
    page.get_by_role("textbox", name="Strengths, times").fill("0.00001")
    page.get_by_role("button", name="Steer", exact=True).click()
    page.get_by_text("The feature changed no word.").wait_for(timeout=1000 * PATIENCE)
    assert main.inner_text().count("the same text as unsteered") == 1


def test_a_models_card_opens_its_features_and_the_address_names_it_once(explorer, page):
    visit(page, explorer.address("models"))
    card = page.get_by_test_id("stMain").get_by_role("link", name="Features").last
    card.click()
    page.get_by_role("button", name="Build its features").wait_for(timeout=1000 * PATIENCE)
    settled(page)
    assert page.url.count("model=") == 1 and "model=zoo%3Amamba" in page.url


def test_a_phone_shows_it_without_scrolling_sideways(explorer, page, store):
    page.set_viewport_size({"width": 400, "height": 800})
    visit(page, explorer.address("features", store=NAME))
    assert width_needed(page) == 400


def test_stores_are_built_from_the_page_and_opened_and_a_model_without_autoencoder_is_told_so(explorer, page):
    """One that comes with the workbench, and then one of a recurrent state that lies in the workspace."""
    texts = explorer.workspace / "built-texts"
    texts.mkdir()
    (texts / "small.txt").write_text("The Congress of the United States met at noon. " * 30, encoding="utf-8")
    try:
        visit(page, explorer.address("features", model="zoo:gla"))
        assert "No autoencoder comes with zoo:gla" in page.get_by_test_id("stMain").inner_text()
        asked = {"model": "zoo:gated_delta", "text": "a text file or folder of the workspace", "place": "built-texts"}
        visit(page, explorer.address("features", **asked))
        page.get_by_role("button", name="Build its features (100,000 tokens, about").click()
        options(page)
        built = open_store(only(explorer.workspace / "features", "gated_delta-resid_post-built-texts-*"))
        assert built.info.finished
        await_feature(page, built.telling)
        state = load_sae("zoo:mamba/state")
        save_sae(state, explorer.workspace / "mine" / "state")
        own = asked | {"model": "zoo:mamba", "sae": "mine/state"}
        visit(page, explorer.address("features", **own))
        page.get_by_role("button", name="Build its features (100,000 tokens, about").click()
        options(page)
        built = open_store(only(explorer.workspace / "features", "mine-state-built-texts-*"))
        await_feature(page, built.telling)
        said = page.get_by_test_id("stMain").inner_text()
        assert "features of zoo:mamba, blocks.1.mixer.hook_state" in said and "Top tokens" in said
        weights = explorer.workspace / "mine" / "state" / "sae_weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        visit(page, explorer.address("features", **own | {"store": "build another"}))
        assert "sae_weights.safetensors is corrupt or truncated" in page.get_by_test_id("stAlert").inner_text()
    finally:
        shutil.rmtree(texts)
        shutil.rmtree(explorer.workspace / "mine", ignore_errors=True)
        shutil.rmtree(explorer.workspace / "features", ignore_errors=True)
