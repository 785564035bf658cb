"""``workbench sae features``: collected, shown, searched, labelled and explained from the command line."""

import json

import pytest

import workbench as wb
from tests.saes.features.planted import TEXTS, handmade
from workbench.saes import FeatureStore, save_sae


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """An autoencoder's folder, a text, and where features go."""
    folder = tmp_path_factory.mktemp("features")
    save_sae(handmade(wb.load("zoo:gru"), k=4, d_sae=64), folder / "sae")
    (folder / "text.txt").write_text("".join(TEXTS), "utf-8")
    return folder


def test_features_are_collected_shown_searched_labelled_and_explained(run, refused, inputs):
    folder = inputs / "store"
    asked = ["sae", "features", "zoo:gru", inputs / "sae", "--text", inputs / "text.txt", "--folder", folder]
    result = run(*asked, "--length", 32, "--json", inputs / "all.json")
    assert result.exit_code == 0, result.output
    assert "64 features of zoo:gru at blocks.2.hook_resid_post" in result.stdout
    store = FeatureStore(folder)
    assert f"{store.info.dead} dead" in result.stdout and store.info.dead >= 3
    listed = json.loads((inputs / "all.json").read_text())
    assert [row["count"] for row in listed["features"]] == store.features()["count"].tolist()
    assert "length was 32 and is 48" in refused(*asked, "--length", 48)

    busy = int(store.features()["count"].idxmax())
    result = run("sae", "features", "show", folder, busy, "--json", inputs / "one.json")
    assert result.exit_code == 0, result.output
    one = json.loads((inputs / "one.json").read_text())
    assert one["feature"]["feature"] == busy and len(one["logits"]) == 20
    assert {example["band"] for example in one["examples"]} >= {"top", "random"}
    assert "\u05dd" in result.stdout or "·" in result.stdout
    assert "is dead" in run("sae", "features", "show", folder, 0).stdout
    assert "they go from 0 to 63" in refused("sae", "features", "show", folder, 64)

    result = run("sae", "features", "label", folder, busy, "[red]bold[/] \u202ename")
    assert result.exit_code == 0 and "[red]bold[/]" in result.stdout and "U+202E" in result.stdout
    assert store.labels.get(busy).label == "[red]bold[/] \u202ename"
    result = run("sae", "features", "search", folder, "[RED]", "--json", "-")
    found = json.loads(result.stdout)["features"]
    assert [(row["feature"], row["where"]) for row in found] == [(busy, "labels")]
    assert "nothing to search for" in refused("sae", "features", "search", folder, "")
    assert "'here' is not one of" in refused("sae", "features", "search", folder, "a", "--where", "here")

    table = store.features()
    rare = int(table.loc[table["rows"].between(8, store.info.rows // 2), "feature"].iloc[0])
    result = run("sae", "features", "explain", folder, rare, busy, "--json", inputs / "why.json")
    assert result.exit_code == 0, result.output
    said = {row["feature"]: row for row in json.loads((inputs / "why.json").read_text())["features"]}[rare]
    assert said["label"].startswith("the token") and 0 <= said["detection"] <= 1
    assert store.labels.get(busy).source == "human" and store.labels.get(rare).label == said["label"]

    assert run("sae", "features", "label", folder, "--export", inputs / "labels.csv").exit_code == 0
    assert run("sae", "features", "label", folder, busy, "--remove").exit_code == 0
    assert store.labels.get(busy) is None
    assert run("sae", "features", "label", folder, "--load", inputs / "labels.csv").exit_code == 0
    assert store.labels.get(busy).label == "[red]bold[/] \u202ename"


def test_what_is_no_store_gets_a_sentence(refused, tmp_path):
    assert "is no feature store" in refused("sae", "features", "show", tmp_path, 0)
