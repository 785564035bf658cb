"""The numbers of the Attention page are those of the public API, and its code makes them again."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.app.views.attention import (
    HeadChoice,
    Reading,
    best_head,
    head_code,
    head_line,
    head_statistics,
    head_view,
    head_window,
    matching,
    outline,
    path_code,
    read_mixer,
    read_stream,
    same_depth,
    statistics_code,
    token_spans,
    value_path,
)
from workbench.app.views.attention import head as head_module
from workbench.app.views.attention import layer as layer_module
from workbench.app.views.attention.choosing import Measure
from workbench.app.views.attention.layer import REDUCTIONS, layer_code, layer_view, thumbnails
from workbench.app.views.attention.statistics import by_rank
from workbench.attention.averages import Average
from workbench.errors import InputError
from workbench.figures.pooling import pool_blocks
from workbench.model import HookedModel

PROMPT = "The state of the Union is strong. The state of the"
load = wb.load
MODELS = ("zoo:attention", "zoo:mamba2", "zoo:mamba")


@cache
def model(source: str) -> HookedModel:
    return load(source)


def read(source: str, choice: HeadChoice) -> tuple[HookedModel, Reading]:
    return model(source), read_mixer(model(source), PROMPT, choice)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a panel's code as pasted, but for the loading of models, which are there already."""
    monkeypatch.setattr(wb, "load", model)

    def ran(code: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        exec(code, names)
        return names

    return ran


@pytest.mark.parametrize("source", MODELS)
@pytest.mark.parametrize("measure", ["weights", "share", "written"])
def test_the_code_makes_the_matrix(source: str, measure: Measure, run: Any) -> None:
    choice = HeadChoice(1, 0, 1, "core", measure)
    found = head_view(*read(source, choice), choice)
    names = run(head_code(source, PROMPT, choice))
    np.testing.assert_allclose(found.pixels, names["values"].numpy(), rtol=1e-5, atol=1e-7)
    assert found.error == names["error"] < 1e-5
    assert found.factor == 1 and len(found.tokens) == len(found.ids) == len(found.pixels)
    assert found.signed == bool((found.pixels < -1e-6 * np.abs(found.pixels).max()).any())


@pytest.mark.parametrize("source", MODELS)
def test_the_code_makes_a_channel_of_the_whole_mixer(source: str, run: Any) -> None:
    for measure in ("weights", "written"):
        choice = HeadChoice(2, 0, 3, "mixer", measure)
        names = run(head_code(source, PROMPT, choice))
        got = head_view(*read(source, choice), choice).pixels
        np.testing.assert_allclose(got, names["values"].numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("measure", ["weights", "share", "written"])
@pytest.mark.parametrize("source", ["zoo:attention", "zoo:mamba2"])
def test_a_long_text_is_pooled_and_read_exactly_in_parts(
    source: str, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = HeadChoice(1, 0, 1, "core", measure)
    whole = head_view(*read(source, choice), choice)
    monkeypatch.setattr(head_module, "SIDE", 5)
    monkeypatch.setattr(head_module, "WINDOW", 4)
    pooled = head_view(*read(source, choice), choice)
    values, time, factor = whole.pixels, len(whole.tokens), pooled.factor
    assert factor == -(-time // 5) > 1
    for row in range(0, time, factor):
        for column in range(0, time, factor):
            block = values[row : row + factor, column : column + factor].ravel()
            expected = block[np.abs(block).argmax()]
            assert pooled.pixels[row // factor, column // factor] == pytest.approx(expected, rel=1e-5)
    assert pooled.links == whole.links
    row, column = head_line(*read(source, choice), choice, 6)
    np.testing.assert_allclose(row, values[6], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(column, values[:, 6], rtol=1e-4, atol=1e-6)
    window = head_window(*read(source, choice), choice, 3, 2)
    np.testing.assert_allclose(window, values[3:7, 2:6], rtol=1e-4, atol=1e-6)


def test_the_profile_is_the_mean_of_each_diagonal_and_links_are_the_largest_entries_before_it() -> None:
    found = head_view(*read("zoo:mamba2", HeadChoice(1, 0, 1)), HeadChoice(1, 0, 1))
    for distance, mean in enumerate(found.profile):
        assert mean == pytest.approx(np.diagonal(found.pixels, -distance).mean(), rel=1e-4, abs=1e-6)
    before = np.sort(np.abs(found.pixels[np.tril_indices_from(found.pixels, -1)]))[::-1]
    np.testing.assert_allclose([abs(link.value) for link in found.links], before[: len(found.links)], rtol=1e-6)
    assert all(found.pixels[link.row, link.column] == link.value for link in found.links)
    assert len(found.links) == 20


@pytest.mark.parametrize("source", MODELS)
def test_what_an_entry_does_is_what_its_code_makes(source: str, run: Any) -> None:
    choice = HeadChoice(2, 0, 1)
    found = value_path(*read(source, choice), read_stream(model(source), PROMPT), choice, 7, 4)
    names = run(path_code(source, PROMPT, choice, 7, 4))
    assert found.weight == pytest.approx(float(names["weight"]), rel=1e-4)
    assert found.norm == pytest.approx(float(names["vector"].norm()), rel=1e-4)
    effect = names["effect"]
    np.testing.assert_allclose([by for _, by in found.up], effect.topk(8).values.numpy(), rtol=1e-3)
    np.testing.assert_allclose([by for _, by in found.down], -(-effect).topk(8).values.numpy(), rtol=1e-3)
    with pytest.raises(InputError, match="cannot read it"):
        value_path(*read(source, choice), read_stream(model(source), PROMPT), choice, 4, 7)


def test_value_paths_of_all_sources_add_up_to_the_heads_direct_effect(run: Any) -> None:
    choice, of = HeadChoice(2, 0, 1), model("zoo:attention")
    tokens = of.to_tokens(PROMPT)
    with torch.no_grad():
        _, cache = of.run_with_cache(tokens)
        heads, labels = cache.stack_head_results(return_labels=True, pos_slice=slice(7, 8))
        head = heads[labels.index("L2H1")]
        expected = cache.vocabulary_attrs(head[None], pos_slice=slice(7, 8))[0, 0, 0]
    best = int((expected - expected.mean()).argmax())
    direct = float(cache.logit_attrs(head[None], best, pos_slice=slice(7, 8)))
    assert direct == pytest.approx(float(expected[best]), rel=1e-4)
    total = torch.zeros_like(expected)
    for source in range(8):
        total += run(path_code("zoo:attention", PROMPT, choice, 7, source))["effect"]
    torch.testing.assert_close(total, expected - expected.mean(), atol=1e-3, rtol=1e-3)


def test_statistics_are_those_of_the_public_call(run: Any) -> None:
    found = head_statistics(model("zoo:mamba2"), PROMPT)
    names = run(statistics_code("zoo:mamba2", PROMPT, "entropy"))
    assert found.table.equals(names["table"])
    values, heads = found.map("entropy")
    np.testing.assert_allclose(values.ravel(), names["table"]["entropy"], rtol=1e-6)
    assert heads.tolist() == [[0, 1, 2, 3]] * 4 and found.cell("entropy", HeadChoice(2, 0, 3)) == (2, 3)


@pytest.mark.parametrize("over", list(REDUCTIONS))
def test_a_layer_as_a_whole_is_what_its_code_makes_and_pooled_where_it_is_long(
    over: Average, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, first = HeadChoice(1, 0, 0), [200, 3, 17]
    of, reading = read("zoo:mamba", choice)
    names = run(layer_code("zoo:mamba", PROMPT, choice, over, first))
    whole, small = layer_view(of, reading, choice, over), thumbnails(reading, first)
    size = float(names["average"].abs().max())
    np.testing.assert_allclose(whole.pixels, names["average"].numpy(), rtol=1e-4, atol=1e-5 * size)
    np.testing.assert_allclose(small.pixels, names["matrices"].numpy(), rtol=1e-4)
    assert (whole.units, whole.factor, small.heads) == (256, 1, (200, 3, 17))
    assert whole.signed == (over == "mean") or whole.pixels.min() >= 0
    for name, least in (("SIDE", 5), ("SMALL", 5), ("AT_ONCE", 40)):
        monkeypatch.setattr(layer_module, name, least)
    pooled, fewer = layer_view(of, reading, choice, over), thumbnails(reading, first)
    for found, every in ((pooled.pixels, whole.pixels), *zip(fewer.pixels, small.pixels, strict=True)):
        np.testing.assert_allclose(found, pool_blocks(every, pooled.factor), rtol=1e-4, atol=1e-5 * np.abs(every).max())
    assert pooled.factor == fewer.factor == -(-len(whole.pixels) // 5) > 1


def test_many_channels_are_drawn_by_rank_and_few_heads_by_number() -> None:
    channels = np.random.default_rng(0).normal(size=600)
    values, heads = by_rank([channels, np.array([3.0, 5.0])])
    assert values.shape == (2, 512) and (np.diff(values[0]) <= 0).all()
    assert (channels[heads[0]] == values[0]).all()
    assert heads[1, :3].tolist() == [1, 0, -1]
    assert by_rank([np.array([3.0, 5.0])])[1].tolist() == [[0, 1]]


@pytest.mark.parametrize("source", MODELS)
def test_a_page_begins_with_the_head_whose_rows_lie_most_on_the_token_before_and_are_alike_in_size(source: str) -> None:
    found = outline(model(source), PROMPT)
    at, head = best_head(found)
    best = (-1.0, -1, -1)
    for index, place in enumerate(found.places):
        squares = model(source).implicit_attention(PROMPT, place.layer).dense()[0].square()
        energy = squares.sum(-1)[:, 2:]
        share = squares.diagonal(-1, 1, 2)[:, 1:] / energy
        sizes = energy.sqrt()
        score = share.mean(-1) * sizes.mean(-1) / sizes.amax(-1)
        best = max(best, (float(score.max()), index, int(score.argmax())))
        assert place.unit == ("channel" if source == "zoo:mamba" else "head")
        assert len(place.scores) == place.heads == len(squares)
        whole = model(source).implicit_attention(PROMPT, place.layer, scope="mixer")
        assert place.channels == whole.units and place.softmax == (source == "zoo:attention")
    assert best[1:] == (at, head)


def test_models_are_set_beside_each_other_by_relative_depth() -> None:
    four = outline(model("zoo:attention"), PROMPT)
    deep = type(four)((four.places * 3), 12)
    places = [type(four.places[0])(**{**vars(place), "layer": at}) for at, place in enumerate(deep.places)]
    deep = type(four)(tuple(places), 12)
    assert [same_depth(four, at, deep) for at in range(4)] == [0, 4, 7, 11]
    assert same_depth(deep, 11, four) == 3


def test_tokens_of_two_tokenizers_meet_at_their_characters() -> None:
    text = "The café is strong"
    words = token_spans(["<s>", "The", " café", " is", " strong"], text)
    pieces = token_spans(["T", "he", " caf", "\ufffd", "\ufffd", " is", " str", "ong"], text)
    assert words[:3] == [(0, 0), (0, 3), (3, 8)]
    assert pieces[2:6] == [(3, 7), (7, 7), (7, 7), (8, 11)]
    assert [matching(at, words, pieces) for at in (1, 2, 3, 4)] == [1, 2, 5, 6]
    assert [matching(at, pieces, words) for at in (0, 1, 2, 5, 6, 7)] == [1, 1, 2, 3, 4, 4]


def test_a_head_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(InputError, match="heads 0 to 3; 9 is not one"):
        head_view(*read("zoo:attention", HeadChoice(1, 0, 9)), HeadChoice(1, 0, 9))
