"""The list of features: filters, orders and searches against the whole table, by pandas."""

import threading

import numpy as np
import pytest
import torch

import workbench as wb
from tests.saes.features.planted import TEXTS, handmade
from workbench.errors import InputError
from workbench.saes import collect_features
from workbench.saes.features.listing import FeatureQuery, feature_rows, telling_feature


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    torch.manual_seed(0)
    model = wb.load("zoo:attention")
    made = collect_features(model, handmade(model, k=8, d_sae=40), TEXTS, tmp_path_factory.mktemp("s") / "x")
    made.labels.set(7, "In <b>the</b> water")
    made.labels.set(9, "a guess", "auto")
    return made


def test_filters_and_orders_are_those_of_the_whole_table(store):
    whole = store.features()
    middle = float(whole["density"][~whole["dead"]].median())
    assert store.find(FeatureQuery()).tolist() == list(range(40))
    for query, kept in [
        (FeatureQuery(most=middle), whole["density"] <= middle),
        (FeatureQuery(least=middle), whole["density"] >= middle),
        (FeatureQuery(labelled=True), whole["label"] != ""),
        (FeatureQuery(labelled=False), whole["label"] == ""),
        (FeatureQuery(dead=True), whole["dead"]),
        (FeatureQuery(dead=False), ~whole["dead"]),
    ]:
        assert store.find(query).tolist() == whole["feature"][kept].tolist()
        assert 0 < len(store.find(query)) < 40
    for by in ("density", "max", "mean"):
        ordered = whole.sort_values([by, "feature"], ascending=[False, True], na_position="last")
        assert store.find(FeatureQuery(by=by, descending=True)).tolist() == ordered["feature"].tolist()
    assert store.find(FeatureQuery(by="label"))[:2].tolist() == [7, 9]
    assert store.find(FeatureQuery(by="telling", descending=True)).tolist() == by_telling(store)
    assert store.find(FeatureQuery(by="match")).tolist() == by_telling(store)
    assert telling_feature(store) == by_telling(store)[0]


def by_telling(store):
    """Of those at 20 tokens or more and less than 1 % of them the strongest first, then the strongest others."""
    whole = store.features()
    seldom = (whole["count"] >= 20) & (whole["density"] < 0.01)
    ordered = whole.assign(seldom=seldom).sort_values(["seldom", "max", "feature"], ascending=[False, False, True])
    return ordered["feature"].tolist()


def test_text_is_found_in_labels_first_and_then_where_it_ranks_high(store):
    holds = {feature: store.top_tokens(feature)["token"].str.lower().str.contains("the") for feature in range(40)}
    ranks = {feature: int(np.argmax(one)) for feature, one in holds.items() if one.any()}
    assert len(ranks) > 3
    place = by_telling(store)
    expected = [7, *sorted((one for one in ranks if one != 7), key=lambda one: (ranks[one], place.index(one)))]
    assert store.find(FeatureQuery(text="tHe", by="match")).tolist() == expected
    for nothing in ("%the%", "'; drop table features; --", "t.e"):
        assert len(store.find(FeatureQuery(text=nothing))) == 0


def test_rows_come_in_the_order_asked_for_with_labels_and_top_tokens(store):
    rows = feature_rows(store, [9, 0, 7], tokens=3)
    assert rows["feature"].tolist() == [9, 0, 7]
    assert rows["label"].tolist() == ["a guess", "", "In <b>the</b> water"]
    assert rows["source"].tolist() == ["auto", "none", "human"]
    dead = store.features().set_index("feature").loc[[9, 0, 7], "dead"].tolist()
    assert rows["dead"].tolist() == dead and dead[1] and not all(dead)
    assert rows["tokens"].tolist() == [store.top_tokens(feature)["token"].tolist()[:3] for feature in (9, 0, 7)]
    assert feature_rows(store, []).empty
    with pytest.raises(InputError, match="no feature 40"):
        feature_rows(store, [40])


def test_a_store_knows_its_model(store):
    assert store.is_of(wb.load("zoo:attention"))
    assert not store.is_of(wb.load("zoo:gla"))


def test_what_makes_no_sense_is_refused(store):
    with pytest.raises(InputError, match="sorted by 'size'; there is: feature, density"):
        store.find(FeatureQuery(by="size"))
    with pytest.raises(InputError, match=r"between 0\.5 and 0\.1"):
        store.find(FeatureQuery(least=0.5, most=0.1))


def test_threads_that_list_and_query_at_once_get_their_own_answers(store):
    wrong = []

    def ask(feature):
        sql = f"select feature from labels where feature = {feature}"
        for _ in range(8):
            try:
                found = feature_rows(store, [feature])["feature"].tolist(), store.query(sql)["feature"].tolist()
            except Exception as error:
                wrong.append(error)
            else:
                wrong.extend(one for one in found if one != [feature])

    threads = [threading.Thread(target=ask, args=(feature,)) for feature in (7, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
