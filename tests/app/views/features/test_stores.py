"""Stores: what is found in a workspace, what is built there and gone on with, and what an open one notices."""

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import workbench as wb
from tests.app.hostile import built
from workbench import progress
from workbench.app.serving import Cancelled, Workspace
from workbench.app.views.features import building, scripts
from workbench.app.views.features.building import Plan, trained_in
from workbench.app.views.features.stores import find_stores, open_store
from workbench.errors import InputError, LoadError, WorkbenchError
from workbench.saes import FeatureQuery, SparseAutoencoder, load_sae, save_sae


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


@pytest.fixture
def made(hostile_store):
    return hostile_store


def test_a_cancelled_build_is_found_and_gone_on_with(model, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "SHARD", 512)
    monkeypatch.setattr(building, "WINDOWS", 1)

    def cancel(what, done, total):
        if what == "reading features" and done == 5:
            raise Cancelled

    with progress.heard_by(cancel), pytest.raises(Cancelled):
        built(model, tmp_path)
    (left,) = find_stores(Workspace(tmp_path))
    assert not left.finished and 0 < left.tokens < 2000
    assert left.name.startswith("features/attention-resid_post-hostile-")
    seen = []
    with progress.heard_by(lambda what, done, total: seen.append(what)):
        built(model, tmp_path)
    (done,) = find_stores(Workspace(tmp_path))
    assert done.finished and done.tokens > left.tokens and done.is_of("zoo:attention") and not done.is_of("zoo:mamba")
    assert "ranking activations" in seen


def test_stores_are_found_by_name_and_not_in_hidden_folders_links_or_environments(made, tmp_path):
    plan, workspace = made
    real = workspace.root / "features"
    for name in (".hidden", "env"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inner").symlink_to(real)
    (tmp_path / "linked").symlink_to(real)
    assert find_stores(Workspace(tmp_path)) == []
    assert [one.name for one in find_stores(workspace)] == [plan.name]


def test_autoencoders_of_the_workspace_are_offered_but_not_the_copies_in_stores(made):
    _, workspace = made
    assert trained_in(workspace) == []
    save_sae(load_sae("zoo:attention/resid_post"), workspace.root / "mine")
    try:
        (workspace.root / "eleuther").mkdir()
        for name in ("cfg.json", "sae.safetensors"):
            (workspace.root / "eleuther" / name).touch()
        (workspace.root / "mine" / "weights-alone").mkdir()
        (workspace.root / "mine" / "weights-alone" / "sae.safetensors").touch()
        assert trained_in(workspace) == ["eleuther", "mine"]
    finally:
        shutil.rmtree(workspace.root / "mine")
        shutil.rmtree(workspace.root / "eleuther", ignore_errors=True)


def test_a_changed_label_changes_the_list_at_once(made):
    plan, workspace = made
    opened = open_store(workspace.root / plan.name)
    assert open_store(workspace.root / plan.name) is opened
    named = FeatureQuery(labelled=True)
    assert opened.features(named).tolist() == []
    for feature in (5, 3):
        opened.store.labels.set(feature, f"label {feature}")
        assert feature in opened.features(named)
        assert opened.rows([3, 5])["label"].tolist() == (["label 3", "label 5"] if feature == 3 else ["", "label 5"])
    opened.store.labels.remove(5)
    assert opened.features(named).tolist() == [3]
    near = opened.tables(10).neighbours(10)
    near.loc[0, "feature"] = 3
    assert opened.relabelled(near)["label"][0] == "label 3"
    opened.store.labels.remove(3)


def test_features_that_come_next_are_read_along(made):
    plan, workspace = made
    opened = open_store(workspace.root / plan.name)
    batch = opened.tables(20, [21, 22])
    assert opened.tables(22) is batch and opened.tables(23) is not batch
    assert opened.tables(22).logits(22).equals(opened.store.logits(22))


def test_the_first_feature_shown_fires_seldom_and_strongly(made):
    plan, workspace = made
    opened = open_store(workspace.root / plan.name)
    table = opened.store.features()
    seldom = table[(table["count"] >= 20) & (table["density"] < 0.01)]
    expected = (seldom if len(seldom) else table).sort_values("max")["feature"].iloc[-1]
    assert opened.telling == expected and opened.sae_source == "zoo:attention/resid_post"


def test_the_code_that_builds_a_store_makes_the_same_one(made, model, tmp_path):
    plan, workspace = made
    asked = building.options_for(plan, model, building.fitted_sae(plan, model, workspace))
    (tmp_path / "texts").mkdir()
    (tmp_path / plan.place).write_bytes((workspace.root / plan.place).read_bytes())
    scope = {}
    exec(scripts.building_code(plan, asked, tmp_path), scope)
    ours = open_store(workspace.root / plan.name).store
    feature = int(ours.features()["count"].idxmax())
    assert np.array_equal(ours.activations(feature), scope["store"].activations(feature))
    assert ours.neurons(feature).equals(scope["store"].neurons(feature)) and not ours.neurons(feature).empty


def test_an_autoencoder_of_ones_own_that_does_not_fit_is_refused_or_warned_of(model, tmp_path):
    workspace = Workspace(tmp_path)
    other = load_sae("zoo:gated_delta/resid_post")
    save_sae(other, tmp_path / "other")
    fitted = building.fitted_sae(Plan("zoo:attention", "other"), model, workspace)
    assert "trained on zoo:gated_delta" in building.trained_for_another(model, fitted)
    assert building.trained_for_another(model, load_sae("zoo:attention/resid_post")) is None
    for name, change, message in [
        ("nowhere", {"hook": None}, r'nowhere/cfg\.json does not say which hook.*"hook_name"'),
        ("elsewhere", {"hook": "blocks.9.hook_resid_post"}, "blocks.9"),
        ("narrow", {"hook": "blocks.1.mlp.hook_post"}, "128"),
    ]:
        save_sae(SparseAutoencoder(replace(other.cfg, **change), other.state_dict()), tmp_path / name)
        with pytest.raises(WorkbenchError, match=message):
            building.fitted_sae(Plan("zoo:attention", name), model, workspace)
    weights = tmp_path / "other" / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(LoadError, match="corrupt or truncated"):
        building.fitted_sae(Plan("zoo:attention", "other"), model, workspace)


def test_plans_that_cannot_be_followed_are_refused(tmp_path):
    workspace = Workspace(tmp_path)
    for place, message in [
        ("", "Name a text file"),
        ("../elsewhere", "outside the workspace"),
        ("none.txt", r"There is no none\.txt"),
    ]:
        with pytest.raises(InputError, match=message):
            building.texts_of(Plan("zoo:attention", "zoo:attention/resid_post", "workspace", place), workspace)
    with pytest.raises(InputError, match="outside the workspace"):
        building.fitted_sae(Plan("zoo:attention", "../sae"), wb.load("zoo:attention"), workspace)


def test_what_makes_another_store_goes_to_another_folder(tmp_path):
    assert Plan("zoo:mamba", "zoo:mamba/state").name == "features/mamba-state"
    assert Plan("zoo:mamba", "zoo:mamba/state", tokens=500).name == "features/mamba-state-500-tokens"
    own = Plan("zoo:mamba", "zoo:mamba/state", "workspace", "a/b c.txt", 500)
    assert re.fullmatch(r"features/mamba-state-b-c-500-tokens-[0-9a-f]{8}", own.name)
    assert replace(own, place=" a//b c.txt ").name == own.name
    mine = Plan("zoo:mamba", "mine/sae")
    plans = [
        own,
        replace(own, place="b c.txt"),
        replace(own, place="c/b c.md"),
        mine,
        replace(mine, sae="mine-sae"),
        replace(mine, model="zoo:gla"),
        replace(mine, text="workspace"),
    ]
    assert len({plan.name for plan in plans}) == len(plans)


def test_an_autoencoder_that_is_trained_again_in_the_same_folder_makes_another_store(tmp_path):
    workspace, plan = Workspace(tmp_path), Plan("zoo:attention", "mine")
    save_sae(load_sae("zoo:attention/resid_post"), tmp_path / "mine")
    before = replace(plan, written=building.written(plan, workspace))
    assert replace(plan, written=building.written(plan, workspace)).name == before.name
    weights = tmp_path / "mine" / "sae_weights.safetensors"
    os.utime(weights, ns=(1, weights.stat().st_mtime_ns + 1))
    assert replace(plan, written=building.written(plan, workspace)).name != before.name
