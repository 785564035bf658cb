"""One feature: numbers, pictures, examples that are inert, a text that is tried, steering; and the code of each."""

from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import workbench as wb
from tests.app.hostile import MARKUP
from workbench.app.views.features import scripts
from workbench.app.views.features.examples import STEPS, bands_of, examples_html
from workbench.app.views.features.facts import (
    at_median,
    facts_of,
    histogram_caption,
    histogram_figure,
    logit_bars,
    logits_caption,
    of_largest,
    share,
    short,
    split_logits,
    summed_tokens,
)
from workbench.app.views.features.steering import LEVELS, Steer, called, levels_of, parse_strengths, steered
from workbench.app.views.features.stores import open_store
from workbench.app.views.features.trying import text_features
from workbench.errors import InputError
from workbench.figures.tokens import visible_text
from workbench.probes.weights import ModelWeights
from workbench.saes import FeatureEdit, FeatureQuery, read_features

PROMPT = "The state of the Union is strong. " + MARKUP


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


@pytest.fixture
def opened(hostile_store):
    plan, workspace = hostile_store
    return open_store(workspace.root / plan.name)


@pytest.fixture
def script_feature(opened):
    """The feature that fires most strongly on the piece of text that looks like a tag."""
    found = opened.store.search("script", "examples")
    return int(found.sort_values("value")["feature"].iloc[-1])


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def _parsed(source):
    page = _Page()
    page.feed(source)
    return page


def test_facts_are_those_of_the_store(opened, script_feature):
    row = opened.store.features().loc[script_feature]
    facts = facts_of(opened, script_feature)
    assert (facts.count, facts.most, facts.dead) == (row["count"], row["max"], False)
    assert facts.quartiles == (row["q25"], row["q50"], row["q75"]) and facts.tokens == opened.store.info.tokens
    assert f"{facts.count:,} of {facts.tokens:,} tokens" in facts.sentence()
    assert f"half below {100 * row['q50'] / row['max']:.3g} %" in facts.sentence()
    assert of_largest(facts.most, facts.most) == "100 %" and of_largest(1.0, 0.0) == "new"
    dead = int(opened.store.features().query("dead")["feature"].iloc[0])
    assert "Dead" in facts_of(opened, dead).sentence()


def test_the_histogram_counts_every_token_that_is_not_at_zero(opened, script_feature):
    facts = facts_of(opened, script_feature)
    figure = histogram_figure(opened.store.histogram(script_feature), facts, log=True)
    assert sum(figure.data[0].y) == facts.count and figure.layout.yaxis.type == "log"
    assert "% of its largest" in figure.layout.xaxis.title.text and "tokens" in figure.layout.yaxis.title.text
    first, last = figure.data[0].x[0], figure.data[0].x[-1]
    assert 0 < first < 5 and 95 < last < 100
    assert f"{facts.tokens - facts.count:,} tokens" in histogram_caption(facts)


def test_examples_are_inert_and_say_what_the_text_says(opened, script_feature):
    examples = opened.store.examples(script_feature, ["top", "random"])
    facts = facts_of(opened, script_feature)
    text = "".join(one.text for one in examples)
    assert "script>" in text and '"' in text
    for one in examples:
        page = _parsed(examples_html([one], facts.most))
        assert {tag for tag, _ in page.tags} <= {"div", "span"}
        assert all(set(known) <= {"class", "title"} for _, known in page.tags)
        assert "".join(visible_text(token) for token in one.tokens) in page.text
        (peak,) = [known for _, known in page.tags if "wb-peak" in known["class"].split()]
        step = max(1, min(STEPS, round(STEPS * one.value / facts.most)))
        assert f"wb-q{step}" in peak["class"].split()
        coloured = [known for _, known in page.tags if "wb-q" in known["class"]]
        assert len(coloured) == sum(value > 0 for value in one.activations)


def test_logits_are_split_by_rank_and_their_bars_are_inert(opened, script_feature):
    table = opened.store.logits(script_feature)
    down, up = split_logits(table)
    assert up["effect"].is_monotonic_decreasing and down["effect"].is_monotonic_increasing
    assert up["effect"].iloc[0] == table["effect"].max() and down["effect"].iloc[0] == table["effect"].min()
    table.loc[0, "token"] = "<script>'\""
    page = _parsed(logit_bars(table, "up", 1.0))
    assert "script" not in {tag for tag, _ in page.tags} and "<script>'\"" in page.text


def test_numbers_are_three_digits_that_can_be_read():
    shown = {0.12345: "0.123", 3.5: "3.5", 57416.2: "57,416", 8.561e7: "85.6M", -4.13e7: "-41.3M", 2.5e9: "2.5B"}
    assert {value: short(value) for value in shown} == shown and short(float("nan")) == "none"


def test_top_tokens_stand_in_where_there_are_no_logits(opened, script_feature):
    top = opened.store.top_tokens(script_feature)
    fired = opened.store.activations(script_feature)
    ids = [opened.store.row(int(row))[0][int(at)] for row, at in zip(fired["row"], fired["position"], strict=True)]
    sums = fired["value"].groupby(ids).sum()
    table = summed_tokens(top, facts_of(opened, script_feature))
    assert np.allclose(table["effect"], [sums[one] / sums.sum() for one in table["token_id"]], rtol=1e-4)
    page = _parsed(logit_bars(table, "up", float(table["effect"].max()), written=share))
    assert "+" not in page.text and "%" in page.text and "width:100%" in str(page.tags)


def test_bands_go_from_the_strongest_to_random_ones(opened):
    found = bands_of(opened.store.bands())
    assert [band.title for band in found] == [
        "Strongest", "High", "Above the median", "Below the median", "Low", "Random",
    ]  # fmt: skip
    assert [name for band in found for name in band.names] == opened.store.bands()[:-1]


def test_a_tried_text_has_the_features_that_the_library_reads(opened, model, script_feature):
    found = text_features(model, opened, PROMPT)
    dense = read_features(model, opened.store.sae, PROMPT)[0].numpy()
    for feature in (script_feature, 0, 1023):
        assert np.allclose(found.of(feature), dense[:, feature])
    most = opened.store.features()["max"].to_numpy()
    assert np.array_equal(opened.largest, most)
    shares = np.divide(dense, most, out=np.zeros_like(dense), where=most > 0)
    place = int(dense.sum(1).argmax())
    best = np.argsort(-shares[place], kind="stable")[:5]
    assert [feature for feature, _ in found.at(place, opened.largest, 5)] == best.tolist()
    strongest = found.strongest(opened.largest, 4)
    assert [feature for feature, _, _ in strongest] == np.argsort(-shares.max(0), kind="stable")[:4].tolist()
    assert all(dense[at, feature] == np.float32(value) for feature, value, at in strongest)
    split = text_features(model, opened, "a 漢 b")
    assert [one for one in split.tokens if one.startswith("<")] == ["<0xE6>", "<0xBC>", "<0xA2>"]
    with pytest.raises(InputError, match="empty"):
        text_features(model, opened, "")


def test_a_model_with_other_weights_is_refused(opened):
    with pytest.raises(InputError, match="other weights of zoo:attention"):
        text_features(wb.load("zoo:gla"), opened, "The state")


def test_ablating_is_what_the_edit_of_the_library_does(opened, model):
    best = text_features(model, opened, "The people of this country").strongest(opened.largest, 1)[0][0]
    found = steered(
        model, opened, best, 1.0, "The people of this country", Steer("ablate", (), tokens=6, temperature=0.0)
    )
    with FeatureEdit.ablate(opened.store.sae, [best]).applied(model):
        expected = model.generate("The people of this country", 6, return_type="tokens")
    prompt = model.to_tokens("The people of this country").shape[1]
    assert found.texts[1] == model.to_string(expected[0, prompt:])
    assert found.features == {best: 0.0} and found.kl[1] > 0


def test_strengths_that_nobody_gave_are_searched_by_what_they_do(opened, model):
    best = text_features(model, opened, "The people of this country").strongest(opened.largest, 1)[0][0]
    most = facts_of(opened, best).most
    found = steered(model, opened, best, most, "The people of this country", Steer(tokens=6))
    assert np.allclose(found.kl[1:], list(LEVELS.values()), rtol=0.2)
    assert found.strengths[1:] == tuple(sorted(found.strengths[1:]))
    assert list(levels_of(found, Steer()).values()) == list(LEVELS) and not levels_of(found, Steer("add", (1.0,)))
    assert called(0.25, "add", "Slight") == "Slight: +0.25 × its largest activation"


def test_effects_at_the_median_are_what_the_final_norm_makes_of_them(opened, model):
    """Adding the feature at its median to a stream of the middle scale, against the numbers that are shown."""
    facts, scale = facts_of(opened, opened.telling), opened.info.final_scale
    rows = torch.tensor([opened.store.row(0)[0]])
    norm, weights = model.layout.final_norm, ModelWeights(model, fold_norm=False).W_U.float()
    seen = []
    handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0]))
    model(rows)
    handle.remove()
    stream = seen[0] * (scale / seen[0].square().mean(-1, keepdim=True).sqrt())
    direction = opened.store.sae.directions()[opened.telling].detach()
    change = ((norm(stream + facts.quartiles[1] * direction) - norm(stream)) @ weights).mean(0).detach().numpy()
    table = at_median(opened.store.logits(opened.telling), facts, scale)
    shown, true = table["effect"].to_numpy(), change[table["token_id"]]
    assert np.corrcoef(shown, true)[0, 1] > 0.9 and 0.5 < np.linalg.norm(true) / np.linalg.norm(shown) < 1.5
    assert at_median(table, facts, None)["effect"].abs().max() == 1.0
    assert "median" in logits_caption(facts, scale) and "relative" in logits_caption(facts, None)


def test_strengths_are_numbers_and_a_dead_feature_has_none(opened, model):
    assert parse_strengths(" 0.5, -1;2 2 0") == (0.5, -1.0, 2.0) and parse_strengths(" ") == ()
    for said, message in [
        ("0", "1 to 6"),
        ("1e9", "at most 1000"),
        ("a", "not 'a'"),
        ("nan", "1 to 6"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_strengths(said)
    with pytest.raises(InputError, match="never fires"):
        steered(model, opened, 0, 0.0, "x", Steer())


def test_code_of_every_panel_gives_the_numbers_that_are_shown(opened, model, script_feature):
    folder, store, feature = opened.folder, opened.store, script_feature
    query = FeatureQuery("the", least=0.001, dead=False, by="density", descending=True)
    asked = Steer("add", (0.5, 2.0), tokens=4, seed=3)
    most = facts_of(opened, feature).most
    scope = {}
    for code in (
        scripts.list_code(folder, query),
        scripts.pictures_code(folder, feature),
        scripts.examples_code(folder, feature, 3),
        scripts.neighbours_code(folder, feature),
        scripts.trying_code("zoo:attention", folder, feature, PROMPT, 4096),
        scripts.steering_code("zoo:attention", folder, feature, most, PROMPT, asked, asked.strengths),
    ):
        exec(code, scope)
    assert scope["features"].shape[-1] == 1024 and scope["table"]["density"].is_monotonic_decreasing
    assert scope["table"].index.tolist() == opened.features(query).tolist()
    shown = at_median(store.logits(feature), facts_of(opened, feature), opened.info.final_scale)["effect"]
    assert np.allclose(scope["logits_at_median"], shown)
    assert scope["logits"].equals(store.logits(feature)) and scope["histogram"].equals(store.histogram(feature))
    assert scope["examples"] == store.examples(feature, limit=3)
    assert scope["by_firing"].equals(store.neighbours(feature, "firing"))
    assert torch.allclose(scope["values"], torch.tensor(text_features(model, opened, PROMPT).of(feature)).float())
    assert scope["steering"].texts == steered(model, opened, feature, most, PROMPT, asked).texts
