"""Which targets kinds of site list, against what the models are known to be made of."""

import pytest
import torch

from tests.workbench.studies.edits.plain_donors import PlainDonors, edit_of, logits
from workbench.errors import HookNameError, InputError
from workbench.sites import Site
from workbench.studies.edits.binding import bind_edit
from workbench.studies.edits.site import SITES


def targets(model, given):
    return SITES.parse(given).targets(model)


def labels(model, given):
    return [target.label for target in targets(model, given)]


def test_every_head_of_every_layer_in_the_order_of_the_forward_pass(zoo):
    assert labels(zoo("attention"), "heads") == [f"L{layer}H{head}" for layer in range(4) for head in range(4)]
    chosen = {"kind": "heads", "layers": [-1, 0], "heads": [2, -1, 9]}
    assert labels(zoo("attention"), chosen) == ["L0H2", "L0H3", "L3H2", "L3H3"]


@pytest.mark.parametrize("name", ["attention", "gated_delta", "mamba", "lstm"])
def test_groups_hold_every_head_once(zoo, name):
    model = zoo(name)
    for given in ({"kind": "heads", "groups": 2}, {"kind": "heads", "group": 2}):
        found = [Site.parse(target.at) for target in targets(model, given)]
        for layer, adapter in enumerate(model.adapters):
            heads = [head for site in found if site.layer == layer for head in range(site.start, site.stop)]
            assert heads == list(range(adapter.n_heads))
    assert len(targets(model, {"kind": "heads", "groups": 2})) == 2 * model.cfg.n_layers
    assert {target.size for target in targets(model, {"kind": "heads", "group": 2})} == {2}


def test_groups_that_do_not_divide_are_refused(zoo):
    for options, said in (({"group": 3}, "groups of 3"), ({"groups": 3}, "3 groups"), ({"groups": 8}, "8 groups")):
        with pytest.raises(InputError, match=f"4 heads of layer 0 cannot be divided into {said}"):
            targets(zoo("attention"), {"kind": "heads", **options})
    with pytest.raises(ValueError, match="give one"):
        SITES.parse({"kind": "heads", "group": 2, "groups": 2})


def test_parts_of_blocks(zoo):
    model = zoo("gla")
    assert labels(model, "layers") == ["L0", "L1", "L2", "L3"]
    assert labels(model, {"kind": "mixers", "layers": [1]}) == ["L1.mixer"]
    assert labels(model, {"kind": "mlps", "layers": [2, 1]}) == ["L1.mlp", "L2.mlp"]
    with pytest.raises(InputError, match="out of range"):
        targets(model, {"kind": "layers", "layers": [4]})
    with pytest.raises(InputError, match="list of layers is empty"):
        targets(model, {"kind": "layers", "layers": []})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"kind": "hooks", "at": "resid_post", "layers": [1, 2]}, ["L1.resid_post", "L2.resid_post"]),
        ({"kind": "hooks", "at": "hook_embed"}, ["embed"]),
        (
            {"kind": "hooks", "at": "log_decay", "layers": [0], "each": "head"},
            ["L0.mixer.log_decay.H0", "L0.mixer.log_decay.H1"],
        ),
        ({"kind": "hooks", "at": "q", "layers": [0], "heads": [1], "units": [0, -1]}, ["L0.mixer.q.H1#0,63"]),
        (
            {"kind": "hooks", "at": "blocks.2.mlp.hook_pre", "each": "unit", "units": [7, 3]},
            ["L2.mlp.pre#3", "L2.mlp.pre#7"],
        ),
        ({"kind": "gates", "layers": [3]}, ["L3.forget", "L3.write", "L3.output"]),
        ({"kind": "gates", "gate": ["output"], "each": "head", "layers": [3]}, ["L3.output.H0", "L3.output.H1"]),
        ({"kind": "gates", "gate": "forget", "heads": [0, 1], "layers": [3]}, ["L3.forget.H0,1"]),
        ({"kind": "state", "layers": [0]}, ["L0.state.H0", "L0.state.H1"]),
        ({"kind": "state", "layers": [0], "each": "layer"}, ["L0.state"]),
        ({"kind": "state", "layers": [0], "each": "key", "dimensions": [1, -1]}, ["L0.state.K1", "L0.state.K63"]),
        ({"kind": "state", "layers": [0], "each": "value", "dimensions": [1], "heads": [0]}, ["L0.state.H0.V1"]),
        ({"kind": "edges", "each": "model", "sources": "previous"}, ["all[scored<-previous]"]),
        (
            {"kind": "edges", "each": "head", "layers": [1], "destinations": [3, -1]},
            ["L1H0[3,-1<-sources]", "L1H1[3,-1<-sources]"],
        ),
        (["L2.mlp", "L0H1"], ["L0H1", "L2.mlp"]),
        ({"kind": "sets", "sets": {"b": ["L0H0"], "a": ["L1H0"]}}, ["b", "a"]),
    ],
)
def test_labels_say_what_is_edited(zoo, given, expected):
    found = targets(zoo("gated_delta"), given)
    assert [target.label for target in found] == expected
    assert [target.layer for target in found] == [min(_layers(target.at)) for target in found]


def _layers(at):
    """Every layer number in a place, however it is written."""
    if at.startswith("blocks."):
        return [int(at.split(".")[1])]
    return [Site.parse(one).layer for one in at.split(" + ")] if at.startswith("L") else [0]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("attention", "state", "keeps a recurrent state"),
        ("attention", "gates", "it has no gates at all"),
        ("gla", {"kind": "gates", "gate": "write"}, "no gate to write in these layers; it has gates to forget, output"),
        ("gla", {"kind": "hooks", "at": "resid_post", "each": "head"}, "no axis of heads"),
        ("gla", {"kind": "hooks", "at": "q", "heads": [4]}, "has numbers 0 to 3, and number 4 is asked for"),
        ("gla", {"kind": "state", "dimensions": [0]}, "say which with each: key or each: value"),
        ("gla", [], "list of sites is empty"),
        ("gla", ["L0H1", "L00H1"], "names L0H1 twice"),
        ("gla", ["L0H9"], "heads 0..3"),
        ("gla", {"kind": "sets", "sets": {"a": []}}, "set 'a' is empty"),
    ],
)
def test_what_a_model_has_not_is_refused(zoo, name, given, said):
    with pytest.raises(InputError, match=said):
        targets(zoo(name), given)


def test_a_hook_that_no_layer_has_is_refused_with_the_nearest(zoo):
    with pytest.raises(HookNameError, match="resid_post"):
        targets(zoo("gla"), {"kind": "hooks", "at": "resid_pots"})


def test_top_neurons_are_those_that_write_most(zoo):
    """What a neuron's activation of 1 adds to the MLP's output, read off at the hook."""
    model = zoo("attention")
    found = targets(model, {"kind": "neurons", "layers": [2], "top": 3})
    seen = []

    def one_each(tensor, hook):
        """In row number n, neuron n alone is 1."""
        return torch.eye(352)[:, None]

    hooks = [("blocks.2.mlp.hook_post", one_each), ("blocks.2.hook_mlp_out", lambda tensor, hook: seen.append(tensor))]
    with torch.no_grad():
        model.run_with_hooks(torch.full((352, 1), 5), fwd_hooks=hooks, return_type=None, stop_at_layer=3)
    written = seen[0][:, 0].norm(dim=-1).tolist()
    largest = sorted(sorted(range(352), key=lambda unit: -written[unit])[:3])
    assert [target.label for target in found] == [f"L2.mlp#{unit}" for unit in largest]


def test_the_pool_of_listed_sites_is_every_component(zoo):
    pool = {target.label for target in SITES.parse(["L0H1"]).pool(zoo("gla"))}
    expected = {f"L{n}H{h}" for n in range(4) for h in range(4)}
    assert pool == expected | {f"L{n}{part}" for n in range(4) for part in ("", ".mlp", ".mixer")}


@pytest.mark.parametrize("each", ["head", "key", "value"])
def test_a_state_edited_in_all_its_parts_is_edited_whole(zoo, prompts, each):
    model, donors = zoo("gated_delta"), PlainDonors(zoo("gated_delta"), prompts)
    site = {"kind": "state", "layers": [1], "each": each}
    parts = edit_of(model, site, "zero", labels(model, site), positions=(5,))
    whole = edit_of(model, {"kind": "state", "layers": [1], "each": "layer"}, "zero", ["L1.state"], positions=(5,))
    first, second = (logits(model, prompts[0], bind_edit(model, one, prompts[0], donors)) for one in (parts, whole))
    assert torch.equal(first, second)
