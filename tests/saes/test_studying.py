"""Features as sites of studies, against the feature edits that people make by hand."""

import json
import shutil

import pytest
import torch

import workbench as wb
from tests.workbench.studies.edits.plain_donors import PlainDonors, edit_of, logits
from workbench.errors import InputError
from workbench.saes import FeatureEdit, load_sae
from workbench.saes.shipped import directory
from workbench.saes.studying import FeatureSites
from workbench.studies.edits.binding import bind_edit, check_edits
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.method import METHODS
from workbench.studies.edits.site import SITES
from workbench.studies.inputs.of_task import task_prompts
from workbench.studies.schema.study import TaskInputs

SAES = ["zoo:attention/resid_post", "zoo:mamba/state"]
TOKENS = 17


@pytest.fixture(scope="module", params=SAES)
def at(request):
    """An autoencoder of the zoo's, its model, prompts of 17 tokens, and two features that fire on the first."""
    model = wb.load(request.param.split("/")[0])
    asked = TaskInputs(task="associative_recall", settings={"pairs": 8}, count=3)
    prompts = task_prompts(asked, model, 0)
    assert all(len(prompt.tokens) == TOKENS for prompt in prompts)
    sae = load_sae(request.param)
    fires = wb.saes.read_features(model, sae, torch.tensor([prompts[0].tokens]))[0].sum(0)
    return request.param, model, prompts, sae, sorted(fires.topk(2).indices.tolist())


def _by_hand(model, prompt, intervention):
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=intervention.hooks(model, tokens)), model(tokens)


def _bound(at, method, positions=None):
    name, model, prompts, _, features = at
    site = {"kind": "features", "sae": name, "features": features}
    labels = [target.label for target in SITES.parse(site).targets(model)]
    edit = edit_of(model, site, method, labels, positions=positions)
    return logits(model, prompts[0], bind_edit(model, edit, prompts[0], PlainDonors(model, prompts)))


@pytest.mark.parametrize("positions", [None, (7, 15)])
def test_features_are_changed_as_a_feature_edit_changes_them(at, positions):
    _, model, prompts, sae, features = at
    where = None if positions is None else list(positions)
    corrupt = torch.tensor([prompts[0].corrupt])
    for method, wanted in (
        ("zero", FeatureEdit.ablate(sae, features, where)),
        ({"kind": "fix", "value": 3.5}, FeatureEdit.clamp(sae, dict.fromkeys(features, 3.5), where)),
        ({"kind": "add", "value": -2.0}, FeatureEdit.add(sae, dict.fromkeys(features, -2.0), where)),
        ("patch", FeatureEdit.patch(sae, features, corrupt, where)),
    ):
        other, plain = _by_hand(model, prompts[0], wanted)
        found = _bound(at, method, positions)
        torch.testing.assert_close(found, other, atol=1e-4, rtol=1e-4)
        assert not torch.equal(other, plain)


def test_a_factor_of_one_changes_nothing_and_of_nought_is_ablation(at):
    _, model, prompts, _, _ = at
    with torch.no_grad():
        plain = model(torch.tensor([prompts[0].tokens]))
    torch.testing.assert_close(_bound(at, {"kind": "scale", "factor": 1.0}), plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(_bound(at, {"kind": "scale", "factor": 0.0}), _bound(at, "zero"))


def test_positions_that_are_not_read_are_refused(at):
    if at[3].cfg.every > 1:
        with pytest.raises(InputError, match=r"No position that is edited is read: .* one token in 8 \(7, 15, ...\)"):
            _bound(at, "zero", (4,))


@pytest.mark.parametrize("method", ["mean", "noise", "cut", {"kind": "steer", "toward": "0", "away": "1"}])
def test_methods_that_know_nothing_of_features_are_refused_when_planned(at, method):
    name, model, prompts, _, features = at
    site = SITES.parse({"kind": "features", "sae": name, "features": features})
    with pytest.raises(InputError, match="choose zero, scale, fix, add, patch, resample"):
        check_edits(model, site, METHODS.parse(method), site.targets(model), None, prompts)


def test_targets_are_named_by_hook_and_number():
    model = wb.load("zoo:attention")
    site = SITES.parse({"kind": "features", "sae": "zoo:attention/resid_post", "features": [9, 3]})
    (first, second) = site.targets(model)
    assert (first.label, second.label, first.layer) == ("L1.resid_post.F3", "L1.resid_post.F9", 1)
    assert len(SITES.parse({"kind": "features", "sae": "zoo:attention/resid_post"}).targets(model)) == 1024
    with pytest.raises(InputError, match=r"no feature 1024; .* has 0 to 1023"):
        SITES.parse({"kind": "features", "sae": "zoo:attention/resid_post", "features": [1024]}).targets(model)


def test_features_of_repetition_are_those_that_fire_on_repeated_tokens():
    model, sae = wb.load("zoo:attention"), load_sae("zoo:attention/resid_post")
    site = {"kind": "features", "sae": "zoo:attention/resid_post", "top": 4, "by": "repetition"}
    chosen = [target.units[0] for target in SITES.parse(site).targets(model)]
    assert len(chosen) == 4
    task = wb.tasks.repeated_random_tokens(model, 24, batch=48, seed=77)
    once = torch.cat([task.tokens[:, :24].roll(1, 0), task.tokens[:, :24]], dim=1)
    repeated, control = (
        wb.saes.read_features(model, sae, one)[:, 24:].flatten(0, 1).double() for one in (task.tokens, once)
    )
    spread = ((repeated.var(0) + control.var(0)) / 2).sqrt()
    effect = (repeated.mean(0) - control.mean(0)) / spread.clamp_min(1e-9)
    best = effect.argsort(descending=True)[:20].tolist()  # of 1,024, on other tokens than those that chose
    assert set(chosen) <= set(best)
    assert float(effect[chosen].min()) > 0.1 > float(effect.median())


def test_the_top_features_of_a_store_are_those_of_its_table(tmp_path):
    model, sae = wb.load("zoo:attention"), load_sae("zoo:attention/resid_post")
    rows = torch.randint(0, 2048, (24, 32), generator=torch.Generator().manual_seed(0))
    store = wb.saes.collect_features(model, sae, rows, tmp_path / "store", progress=False)
    table = store.features().sort_values("density", ascending=False)
    site = FeatureSites(sae="zoo:attention/resid_post", top=5, store="store").located(tmp_path)
    densities = store.features().set_index("feature")["density"]
    found = [target.units[0] for target in site.targets(model)]
    assert sorted(densities[found], reverse=True) == sorted(table["density"].head(5), reverse=True)
    with pytest.raises(InputError, match=r"no 'densty' of features; .*density"):
        FeatureSites(sae="zoo:attention/resid_post", top=5, store="store", by="densty").located(tmp_path).targets(model)


def test_a_folder_is_found_beside_the_study_and_refused_when_it_changes(tmp_path):
    model = wb.load("zoo:attention")
    shutil.copytree(directory("zoo:attention/resid_post"), tmp_path / "sae")
    site = SITES.parse({"kind": "features", "sae": "sae", "features": [3]}).located(tmp_path)
    zoo = SITES.parse({"kind": "features", "sae": "zoo:attention/resid_post", "features": [3]}).located(tmp_path)
    ids = {
        Edit("m", "e", tuple(one.targets(model)), one.binder().canonical(), METHODS.parse("zero").canonical()).edit_id
        for one in (site, zoo)
    }
    assert len(ids) == 1  # the same content, wherever it lies
    config = tmp_path / "sae" / "cfg.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "k": 8}))
    with pytest.raises(InputError, match="has changed"):
        site.located(tmp_path)
    with pytest.raises(InputError, match="There is no missing"):
        SITES.parse({"kind": "features", "sae": "missing"}).located(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": [1], "top": 2}, "not both"),
        ({"top": 2}, "name the store that has it"),
        ({"features": []}, "at least 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SITES.parse({"kind": "features", "sae": "zoo:attention/resid_post", **options})
