"""The numbers of the Heads page are those of the public API, and its code makes them again."""

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.app.views import heads as heads_module
from workbench.app.views.head_figures import above_by_depth, against_null, by_layer, check_figure, head_grid
from workbench.app.views.head_scripts import against_null_code, check_code, scores_code
from workbench.app.views.heads import (
    Scores,
    about,
    best_sites,
    check_heads,
    comparison,
    layers_of,
    row_of,
    score_heads,
    seconds_for,
)
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads

SOURCE = "zoo:attention"


@lru_cache(maxsize=1)
def model() -> HookedModel:
    return wb.load(SOURCE)


@lru_cache(maxsize=1)
def found() -> Scores:
    return score_heads(model(), SOURCE, "induction")


def made_up(scores: dict[str, list[float]], layers: int = 2, unit: str = "head") -> Scores:
    """Scores of heads that were never measured: a list a layer, with a null of 0.1 and an interval of 0.02."""
    rows = [
        {"layer": int(layer), "mixer": 0, "head": head, "site": f"L{layer}H{head}", "score": score}
        for layer, values in scores.items()
        for head, score in enumerate(values)
    ]
    table = pd.DataFrame(rows).assign(kind="induction", null=0.1)
    table = table.assign(low=table["score"] - 0.01, high=table["score"] + 0.01, excess=table["score"] - 0.1)
    return Scores("made up", "induction", table, unit, layers)


def run(code: str) -> dict[str, Any]:
    there: dict[str, Any] = {}
    exec(code, there)
    return there


def test_the_code_under_the_map_makes_the_table_that_is_shown() -> None:
    made = run(scores_code(found(), "excess", "segment"))
    shown = found().ranked("excess")
    pd.testing.assert_frame_equal(made["table"], shown.drop(columns="percentile"))
    assert [str(site) for site in shown["site"][:4]] == best_sites(found(), 4, "excess")
    assert {str(site)[:2] for site in shown["site"][:4]} == {"L1"} and found().above == 4
    assert np.nanmax(made["figure"].data[0].z) == pytest.approx(shown["excess"].iloc[0], rel=1e-6)


def test_the_percentile_is_the_share_of_heads_that_rank_lower() -> None:
    scores = made_up({"0": [0.5, 0.1, 0.3], "1": [0.1, 0.9]})
    ranked = scores.ranked("score").set_index("site")["percentile"]
    assert ranked.to_dict() == {"L1H1": 100, "L0H0": 75, "L0H2": 50, "L0H1": 0, "L1H0": 0}


def test_ranking_by_excess_passes_over_a_score_that_its_null_explains() -> None:
    scores = made_up({"0": [0.5, 0.4]})
    scores.table["null"] = [0.45, 0.1]
    scores.table["excess"] = scores.table["score"] - scores.table["null"]
    assert list(scores.ranked("excess")["site"]) == ["L0H1", "L0H0"]
    assert list(scores.ranked("score")["site"]) == ["L0H0", "L0H1"]


def test_a_map_of_few_heads_keeps_their_places_and_one_of_many_sorts_each_layer() -> None:
    few = head_grid(made_up({"0": [0.2, 0.5], "1": [0.05]}), "score")
    assert not few.by_rank and few.sites == [["L0H0", "L0H1"], ["L1H0", ""]] and few.above == [[1, 1], [0, 0]]
    np.testing.assert_array_equal(few.values, [[0.2, 0.5], [0.05, np.nan]])
    assert few.names[0][1] == "L0H1 (score 0.500, null 0.100)" and few.names[1][1] == ""
    assert few.place("L1H0") == (1, 0) and few.place("L7H0") is None
    values = list(np.random.default_rng(0).permutation(100) / 100)
    many = head_grid(made_up({"0": values}), "score")
    assert many.by_rank and list(many.values[0]) == sorted(values, reverse=True)
    assert many.sites[0][0] == f"L0H{int(np.argmax(values))}"
    assert many.names[0][0] == f"L0H{int(np.argmax(values))} (score 0.990, null 0.100)"


def test_at_every_score_the_curve_says_how_many_heads_reach_it() -> None:
    scores = made_up({"0": [0.1, 0.2, 0.2, 0.4]})
    of_score, of_null = against_null([scores]).data
    for x, y in zip(of_score.x, of_score.y, strict=True):
        reached = 100 * (scores.table["score"] >= x).mean()
        assert y == reached or x in of_score.x[: list(of_score.y).index(y)]  # of equal scores the first one counts
    assert list(of_null.x) == [0.1] * 4


def test_layers_are_summed_up_by_their_quartiles() -> None:
    values = [0.0, 0.1, 0.2, 0.3, 0.4]
    box, nulls = by_layer(made_up({"0": values, "1": [0.7] * 5})).data
    assert (box.lowerfence[0], box.q1[0], box.median[0], box.q3[0], box.upperfence[0]) == tuple(values)
    assert box.q3[1] == 0.7 and list(nulls.y) == [0.1, 0.1]


def test_models_of_other_sizes_are_compared_by_what_does_not_grow_with_size() -> None:
    small, large = made_up({"0": [0.3, 0.5]}, 1), made_up({"0": [0.3, 0.5] * 50, "1": [0.05] * 100}, 2, "channel")
    table = comparison([small, large])
    assert list(table["above null, %"]) == [100, 50]
    # Two of 200: the better one is 0.5 unless neither is one of the fifty.
    none = (150 / 200) * (149 / 199)
    neither_above = (100 / 200) * (99 / 199)
    expected = 0.4 * (1 - none) + 0.2 * (none - neither_above) - 0.05 * neither_above
    assert list(table["best of 2"]) == pytest.approx([0.4, expected])
    one, other = above_by_depth([small, large]).data
    assert list(one.x) == [0.5] and list(other.x) == [0.25, 0.75] and list(other.y) == [100, 0]


def test_the_code_under_the_curves_makes_their_numbers() -> None:
    made = run(against_null_code([found()], "segment"))
    pd.testing.assert_frame_equal(made["tables"][SOURCE], found().table)


def test_the_check_is_that_of_the_public_function_and_its_code_makes_it_again() -> None:
    check = check_heads(model(), found(), 4, "excess")
    made = run(check_code(found(), 4, "excess", "mean", "segment"))
    pd.testing.assert_frame_equal(made["effect"], check.table)
    own = ablate_top_k(model(), find_heads(model(), "induction"), 4, by="excess", batch=8)
    pd.testing.assert_frame_equal(own, check.table)
    figure = check_figure(check)
    bars = {(bar.name, tuple(bar.y)) for bar in figure.data if bar.type == "bar"}
    top = check.table.set_index("condition").loc["top"]
    assert ("without the best", (top["accuracy_first"], top["accuracy_second"])) in bars
    assert top["accuracy_second"] < 0.1 and check.decisive == "loss_second"
    assert any("random set" in note for note in check.notes)  # four of the four heads of a layer: few others


def test_a_head_that_is_not_there_is_refused_with_the_nearest_ones() -> None:
    assert row_of(found(), " l1h2 ", "score")["rank"] == 1
    with pytest.raises(InputError, match="'L9H9' is no head of zoo:attention; nearest: L"):
        row_of(found(), "L9H9", "score")


def test_what_a_kind_is_comes_from_the_registry_and_its_cost_from_a_pass() -> None:
    assert about("induction").startswith("Such heads read the token after the previous occurrence")
    assert seconds_for(model(), "induction") is None  # a moment, for a small model
    long = seconds_for(model(), "3-gram")
    assert long is not None and long > 0


def test_some_layers_only_are_looked_at_and_the_code_says_which() -> None:
    scores = score_heads(model(), SOURCE, "induction", layers=(1, 3))
    assert set(scores.table["layer"]) == {1, 3} and scores.looked == (1, 3)
    whole = found().table
    key = ["site", "score", "low", "high", "null"]
    both = whole[whole["layer"].isin([1, 3])][key].sort_values("site", ignore_index=True)
    pd.testing.assert_frame_equal(scores.table[key].sort_values("site", ignore_index=True), both)
    made = run(scores_code(scores, "excess", "segment"))
    pd.testing.assert_frame_equal(made["table"], scores.ranked("excess").drop(columns="percentile"))
    assert "layers=[1, 3]" in check_code(scores, 1, "score", "mean", "segment")


def test_layers_are_read_as_people_write_them() -> None:
    assert layers_of("8, 0-3,2") == (0, 1, 2, 3, 8)
    assert layers_of("  ") is None and layers_of("5") == (5,)
    for text, says in (("all", "names no layers"), ("-1", "names no layers"), ("3-1", "ends before it begins")):
        with pytest.raises(InputError, match=says):
            layers_of(text)
    with pytest.raises(InputError, match="There is no layer 9"):
        score_heads(model(), SOURCE, "induction", layers=(9,))


def test_fewer_layers_are_foreseen_to_take_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_module, "pass_seconds", lambda model: 2.0)
    assert seconds_for(model(), "3-gram") == 2.0 * heads_module.PASSES["3-gram"]
    assert seconds_for(model(), "3-gram", (0,)) == 2.0 * heads_module.PASSES["3-gram"] / 4


def test_what_channels_take_is_timed_on_one_layer_and_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    mamba, asked, now = wb.load("zoo:mamba"), [], iter([10.0, 13.0])
    monkeypatch.setattr(heads_module, "find_heads", lambda model, kind, **options: asked.append((kind, options)))
    monkeypatch.setattr(heads_module.time, "perf_counter", lambda: next(now))
    # 3 s a layer and text; 2 of 4 layers, 3 texts; a search of 2-grams has 130 / 25 times the entries.
    assert seconds_for(mamba, "2-gram", (1, 3)) == pytest.approx(3 * 2 * 3 * 130 / 25)
    assert asked == [("induction", {"layers": [0], "seeds": [0]})]
