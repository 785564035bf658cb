"""Bound edits against the interventions that people use by hand."""

import dataclasses

import pytest
import torch

import workbench as wb
from tests.workbench.studies.edits.plain_donors import PlainDonors, edit_of, logits
from workbench.errors import InputError
from workbench.interventions import Ablate, Fix, Patch, Reference, Scale, Steer
from workbench.knockout import Knockout
from workbench.studies.edits.binding import bind_edit, check_edits, resolved
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.method import METHODS
from workbench.studies.edits.site import SITES

FAMILIES = ["attention", "gated_delta", "mamba", "lstm"]
SETS = [("heads", ["L0H0", "L0H1", "L2H1"]), ("mlps", ["L1.mlp"]), ("mixers", ["L1.mixer"]), ("layers", ["L2"])]


def _same(model, prompt, bound, intervention, close=0.0) -> None:
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad():
        plain = model(tokens)
        wanted = model.run_with_hooks(tokens, fwd_hooks=intervention.hooks(model, tokens))
    found = logits(model, prompt, bound)
    torch.testing.assert_close(found, wanted, atol=close, rtol=0)
    assert float((found - plain).abs().max()) > 100 * close


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("site", "labels"), SETS)
def test_zero_is_zero_ablation(zoo, prompts, name, site, labels):
    model = zoo(name)
    bound = bind_edit(model, edit_of(model, site, "zero", labels), prompts[0], PlainDonors(model, prompts))
    _same(model, prompts[0], bound, Ablate(labels, "zero"))


@pytest.mark.parametrize(("name", "per_position"), [("attention", False), ("attention", True), ("mamba", False)])
def test_mean_is_mean_ablation_with_the_prompts_as_reference(zoo, prompts, name, per_position):
    model, labels = zoo(name), ["L0H0", "L2H1"]
    method = {"kind": "mean", "source": "all", "per_position": per_position}
    bound = bind_edit(model, edit_of(model, "heads", method, labels), prompts[1], PlainDonors(model, prompts))
    reference = Reference.record(model, torch.tensor([one.tokens for one in prompts]), labels)
    wanted = Ablate(labels, "mean", reference, per_position=per_position)
    tokens = torch.tensor([prompts[1].tokens])
    with torch.no_grad():
        other = model.run_with_hooks(tokens, fwd_hooks=wanted.hooks(model, tokens))
    # A mean over three runs of one row each is not summed in the order of one run of three.
    torch.testing.assert_close(logits(model, prompts[1], bound), other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "positions"),
    [("gated_delta", None), ("lstm", None), ("attention", (3, 7)), ("mamba", "last"), ("attention", (-2,))],
)
def test_patch_takes_the_corrupt_prompt_s_activations(zoo, prompts, name, positions):
    model, prompt, labels = zoo(name), prompts[0], ["L1H0", "L2H1"]
    edit = edit_of(model, "heads", "patch", labels, positions=positions)
    bound = bind_edit(model, edit, prompt, PlainDonors(model, prompts))
    where = {None: None, "last": [len(prompt.tokens) - 1]}.get(positions, list(positions or ()))
    _same(model, prompt, bound, Patch(labels, torch.tensor([prompt.corrupt]), where))


@pytest.mark.parametrize("name", ["mamba", "gated_delta", "lstm"])
def test_a_state_is_patched_after_chosen_steps(zoo, prompts, name):
    model, prompt = zoo(name), prompts[0]
    site, label = {"kind": "state", "layers": [1], "each": "layer"}, "L1.state"
    edit = edit_of(model, site, "patch", [label], positions=(4, 9))
    bound = bind_edit(model, edit, prompt, PlainDonors(model, prompts))
    at = "blocks.1.mixer.hook_state"
    _same(model, prompt, bound, Patch(at, torch.tensor([prompt.corrupt]), [4, 9]), 3e-5)


@pytest.mark.parametrize("name", ["mamba", "gated_delta"])
def test_a_row_of_a_state_is_zeroed_and_no_other(zoo, prompts, name):
    model, prompt = zoo(name), prompts[0]
    site = {"kind": "state", "layers": [1], "each": "key", "dimensions": [2, 5]}
    edit = edit_of(model, site, "zero", ["L1.state.K2", "L1.state.K5"], positions=(6,))

    def by_hand(state, hook):
        state = state.clone()
        state[:, :, [2, 5]] = 0
        return state

    bound = bind_edit(model, edit, prompt, PlainDonors(model, prompts))
    wanted = model.run_with_hooks(
        torch.tensor([prompt.tokens]), fwd_hooks=[("blocks.1.mixer.hook_state", wb.at_steps(by_hand, [6]))]
    )
    assert torch.equal(logits(model, prompt, bound), wanted.detach())


@pytest.mark.parametrize("name", ["lstm", "gru", "mamba"])
def test_a_gate_is_held_as_fix_holds_it(zoo, prompts, name):
    model, prompt = zoo(name), prompts[0]
    site = {"kind": "gates", "gate": "forget"}
    edit = edit_of(model, site, {"kind": "fix", "value": -0.25}, ["L0.forget", "L2.forget"])
    at = ["blocks.0.mixer.hook_log_decay", "blocks.2.mixer.hook_log_decay"]
    _same(model, prompt, bind_edit(model, edit, prompt, PlainDonors(model, prompts)), Fix(at, -0.25))


def test_later_gates_hear_an_edit_of_an_earlier_one_whatever_the_method(zoo, prompts):
    """An LSTM's gates read its output, so a scaled write changes later writes, as it does written out by hand."""
    model, prompt = zoo("lstm"), prompts[0]
    edit = edit_of(model, {"kind": "gates", "gate": "write"}, {"kind": "scale", "factor": 0.5}, ["L0.write"])
    found = logits(model, prompt, bind_edit(model, edit, prompt, PlainDonors(model, prompts)))
    hooks = [("blocks.0.mixer.hook_write", lambda tensor, hook: tensor * 0.5)]
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad():
        deaf = model.run_with_hooks(tokens, fwd_hooks=hooks)
        heard = model.run_with_hooks(
            tokens, fwd_hooks=[*hooks, ("blocks.0.mixer.hook_state", lambda state, hook: None)]
        )
    assert torch.equal(found, heard)
    assert not torch.allclose(found, deaf, atol=1e-3)


@pytest.mark.parametrize("name", ["attention", "lstm"])
def test_neurons_are_scaled_one_by_one(zoo, prompts, name):
    model, prompt = zoo(name), prompts[0]
    edit = edit_of(
        model, {"kind": "neurons", "units": [3, 17]}, {"kind": "scale", "factor": -4.0}, ["L1.mlp#17", "L1.mlp#3"]
    )
    tokens = torch.tensor([prompt.tokens])
    found = logits(model, prompt, bind_edit(model, edit, prompt, PlainDonors(model, prompts)))
    wanted = Scale("blocks.1.mlp.hook_post", -4.0, units=[3, 17])
    with torch.no_grad():
        other = model.run_with_hooks(tokens, fwd_hooks=wanted.hooks(model, tokens))
    # Scale computes x + (factor - 1) x.
    torch.testing.assert_close(found, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", ["raw", "matched"])
def test_steering_by_two_groups_is_steering_along_the_difference_of_their_means(zoo, prompts, norm):
    model, prompt, at = zoo("gated_delta"), prompts[0], "blocks.1.hook_resid_post"
    donors = PlainDonors(model, prompts)
    method = {"kind": "steer", "toward": "1", "away": "2", "alpha": 3.0, "norm": norm}
    edit = edit_of(model, {"kind": "hooks", "at": at}, method, ["L1.resid_post"], positions="scored")
    vector = (donors.activation(at, prompts[1]) - donors.activation(at, prompts[2])).mean((0, 1))
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad():
        hooks = Steer(vector, at, 3.0, list(prompt.scored), norm=norm).hooks(model, tokens)
        wanted = model.run_with_hooks(tokens, fwd_hooks=hooks)
    torch.testing.assert_close(
        logits(model, prompt, bind_edit(model, edit, prompt, donors)), wanted, atol=2e-4, rtol=1e-4
    )


def test_resampling_puts_in_another_prompt_s_activations(zoo, prompts):
    model, prompt, donors = zoo("attention"), prompts[0], PlainDonors(zoo("attention"), prompts)
    found = logits(model, prompt, bind_edit(model, edit_of(model, "heads", "resample", ["L1H2"]), prompt, donors))
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad():
        possible = [
            model.run_with_hooks(tokens, fwd_hooks=Patch("L1H2", torch.tensor([one.tokens])).hooks(model, tokens))
            for one in prompts[1:]
        ]
    assert sum(torch.equal(found, one) for one in possible) == 1


def test_noise_is_of_the_size_that_is_asked_for_where_it_is_asked_for(zoo, prompts):
    model, prompt, donors = zoo("attention"), prompts[0], PlainDonors(zoo("attention"), prompts)
    name, tokens = "blocks.0.hook_resid_post", torch.tensor([prompts[0].tokens])
    before = donors.activation(name, prompt)

    def added(seed):
        method = {"kind": "noise", "deviations": 2.0}
        edit = edit_of(model, {"kind": "hooks", "at": name}, method, ["L0.resid_post"], positions=(2,), seed=seed)
        seen = []
        hooks = [
            *bind_edit(model, edit, prompt, donors).hooks,
            (name, lambda tensor, hook: seen.append(tensor.clone())),
        ]
        with torch.no_grad():
            model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None, stop_at_layer=1)
        return seen[0] - before

    every = torch.cat([added(seed) for seed in range(12)])
    assert float(every[:, [0, 1, *range(3, 12)]].abs().max()) == 0
    sizes = every[:, 2] / donors.deviation(name, "discover")[0]
    assert abs(float(sizes.mean())) < 0.15
    assert abs(float(sizes.std()) - 2) < 0.15
    assert torch.equal(added(5), every[5:6])


@pytest.mark.parametrize("name", ["attention", "gated_delta"])
@pytest.mark.parametrize(
    ("each", "label", "where"),
    [
        ("layer", "L1[scored<-sources]", {"layers": [1]}),
        ("head", "L2H1[scored<-sources]", {"layers": [2], "heads": [1]}),
        ("model", "all[scored<-sources]", {}),
    ],
)
@pytest.mark.parametrize("meaning", ["write", "value"])
def test_edges_are_cut_as_a_knockout_cuts_them(zoo, prompts, name, each, label, where, meaning):
    model, prompt = zoo(name), prompts[0]
    site = {"kind": "edges", "each": each}
    edit = edit_of(model, site, {"kind": "cut", "meaning": meaning}, [label])
    # In two copies of six tokens, the answer at position t stands at t - 6 + 1.
    pairs = [(t, t - 5) for t in range(6, 11)]
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad(), model.knocked_out(Knockout.pairs(pairs, meaning=meaning, **where)):
        wanted = model(tokens)
    found = logits(model, prompt, bind_edit(model, edit, prompt, PlainDonors(model, prompts)))
    assert torch.equal(found, wanted)
    assert not torch.equal(found, model(tokens).detach())


def test_edges_of_positions(zoo, prompts):
    model, prompt = zoo("attention"), prompts[0]
    tokens = torch.tensor([prompt.tokens])
    cases = {
        ("last", "previous"): [(11, 10)],
        ("last", "first"): [(11, 0)],
        ("last", "all"): [(11, source) for source in range(11)],
        ((5, -1), (2,)): [(5, 2), (11, 2)],
    }
    for (destinations, sources), pairs in cases.items():
        given = [one if isinstance(one, str) else list(one) for one in (destinations, sources)]
        site = SITES.parse({"kind": "edges", "destinations": given[0], "sources": given[1], "layers": [1]})
        edit = Edit("m", "e", tuple(site.targets(model)), site.binder().canonical(), METHODS.parse("cut").canonical())
        with torch.no_grad(), model.knocked_out(Knockout.pairs(pairs, layers=[1])):
            wanted = model(tokens)
        assert torch.equal(logits(model, prompt, bind_edit(model, edit, prompt, PlainDonors(model, prompts))), wanted)


def test_named_sets_and_lists_are_edited_all_at_once(zoo, prompts):
    model, prompt, donors = zoo("attention"), prompts[0], PlainDonors(zoo("attention"), prompts)
    places = ["L0H1", "L2.mlp", "L3H0:2"]
    for site, labels in ((places, places), ({"kind": "sets", "sets": {"circuit": places}}, ["circuit"])):
        _same(model, prompt, bind_edit(model, edit_of(model, site, "zero", labels), prompt, donors), Ablate(places))


def test_what_two_targets_name_is_changed_once(zoo, prompts):
    model, prompt, donors = zoo("attention"), prompts[0], PlainDonors(zoo("attention"), prompts)
    edit = edit_of(model, ["L1H0", "L1H0:2"], {"kind": "scale", "factor": 3.0}, ["L1H0", "L1H0:2"])
    other = edit_of(model, ["L1H0:2"], {"kind": "scale", "factor": 3.0}, ["L1H0:2"])
    first, second = (logits(model, prompt, bind_edit(model, one, prompt, donors)) for one in (edit, other))
    assert torch.equal(first, second)


def test_the_baseline_has_no_hooks(zoo, prompts):
    bound = bind_edit(zoo("attention"), Edit("m", "baseline"), prompts[0], PlainDonors(zoo("attention"), prompts))
    assert bound.hooks == [] and bound.whole is None


@pytest.mark.parametrize(
    ("name", "site", "method", "said"),
    [
        ("attention", "heads", "cut", "cut is for edges"),
        ("attention", "edges", "zero", "choose method cut"),
        ("attention", {"kind": "hooks", "at": "pattern"}, "mean", "row of another length"),
        ("attention", {"kind": "hooks", "at": "pattern"}, "noise", "row of another length"),
        ("attention", "heads", {"kind": "steer", "toward": "0", "away": "nine"}, "group 'nine'"),
    ],
)
def test_what_makes_no_sense_is_refused_when_a_study_is_planned(zoo, prompts, name, site, method, said):
    kind, how = SITES.parse(site), METHODS.parse(method)
    with pytest.raises(InputError, match=said):
        check_edits(zoo(name), kind, how, kind.targets(zoo(name)), None, prompts)


def test_prompts_that_lack_what_a_method_needs_are_refused(zoo, prompts):
    model, kind = zoo("attention"), SITES.parse("heads")
    targets = kind.targets(model)
    without = [dataclasses.replace(one, corrupt=None) for one in prompts]
    shorter = [dataclasses.replace(prompts[0], tokens=prompts[0].tokens[:9], scored=(7,), answers=(1,))]
    for method, given, said in (
        ("patch", without, "3 of 3 have none"),
        ({"kind": "mean", "per_position": True}, [*prompts, *shorter], "9 to 12 tokens"),
        ("resample", [*prompts, *shorter], "9 tokens has no partner"),
    ):
        with pytest.raises(InputError, match=said):
            check_edits(model, kind, METHODS.parse(method), targets, None, given)
        check_edits(model, kind, METHODS.parse(method), targets, None, prompts)
    with pytest.raises(InputError, match="no position 12"):
        check_edits(model, kind, METHODS.parse("zero"), targets, [12], prompts)
    edges, unknown = SITES.parse("edges"), [dataclasses.replace(one, sources=()) for one in prompts]
    with pytest.raises(InputError, match="where a scored position's answer comes from"):
        check_edits(model, edges, METHODS.parse("cut"), edges.targets(model), None, unknown)


def test_positions_are_counted_from_either_end(prompts):
    assert resolved((-1, 0, 11), prompts[0]) == (0, 11)
    assert resolved("last", prompts[0]) == (11,)
    assert resolved("scored", prompts[0]) == prompts[0].scored
    assert resolved(None, prompts[0]) is None
    with pytest.raises(InputError, match="no position -13"):
        resolved((-13,), prompts[0])
