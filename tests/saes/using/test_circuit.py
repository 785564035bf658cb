"""Attribution of features: exact where the model is linear, and held to real replacement everywhere else."""

import pytest
import torch

from tests.probes.patching.cases import linear_after_attention, repeats
from tests.saes.using.hand_made import random_sae, zoo
from workbench.errors import InputError
from workbench.probes.patching import attribution_patching
from workbench.saes import SaeConfig, SparseAutoencoder, feature_circuit
from workbench.saes.autoencoder import weight_shapes
from workbench.saes.using.places import ERROR


def small_sae(hook, width, d_sae=10, seed=0):
    cfg = SaeConfig("standard", width, d_sae, hook=hook)
    generator = torch.Generator().manual_seed(seed)
    return SparseAutoencoder(
        cfg,
        {
            name: torch.randn(shape, generator=generator, dtype=torch.float64) / 3
            for name, shape in weight_shapes(cfg).items()
        },
    )


def runs(model, batch=4, time=7):
    generator = torch.Generator().manual_seed(1)
    return (torch.randint(0, model.cfg.d_vocab, (batch, time), generator=generator) for _ in range(2))


def metric(logits):
    return logits[:, -1, 3] - logits[:, -1, 7]


@torch.no_grad()
@pytest.mark.parametrize("with_source", [True, False])
def test_in_a_linear_model_effects_are_those_of_replacing_and_add_up(with_source):
    model = linear_after_attention()
    sae = small_sae("blocks.0.hook_resid_mid", 16)
    run, source = runs(model)
    circuit = feature_circuit(model, sae, run, source if with_source else None, metric, nodes=11, edges=False)
    hook = "blocks.0.hook_resid_mid"
    x, theirs = (model.run_with_cache(tokens, hook)[1][hook] for tokens in (run, source))
    f, g = ((one @ sae.W_enc + sae.b_enc).relu() for one in (x, theirs))
    if not with_source:
        g = torch.zeros_like(g)
    plain = metric(model(run))
    assert len(circuit.nodes) > 4 and ERROR in set(circuit.nodes["feature"])
    for row in circuit.nodes.itertuples():
        if row.feature == ERROR:
            error = x - f @ sae.W_dec - sae.b_dec
            move = ((theirs - g @ sae.W_dec - sae.b_dec) if with_source else 0) - error
        else:
            move = (g - f)[..., row.feature, None] * sae.W_dec[row.feature]
        moved = metric(model.run_with_hooks(run, fwd_hooks=[(hook, lambda t, h, move=move: t + move)]))
        assert row.effect == pytest.approx(float((moved - plain).mean()), abs=1e-9)
    torch.testing.assert_close(
        torch.tensor(circuit.exact(11)["exact"].to_numpy()), torch.tensor(circuit.nodes["effect"].to_numpy())
    )
    if with_source:
        whole = attribution_patching(model, run, source, metric, at=hook, positions="all", by_head=False)
        assert circuit.nodes["effect"].sum() == pytest.approx(float(whole["effect"][0]), abs=1e-9)


PLACES = [
    ("attention", ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"], {}),
    ("mamba", ["blocks.1.mixer.hook_out", "blocks.2.mixer.hook_out"], {}),
    ("lstm", ["blocks.1.mixer.hook_state", "blocks.2.hook_resid_post"], {"every": 3}),
]


def two(name, hooks, options):
    model = zoo(name)
    first = random_sae(model, hooks[0], **options)
    return model, [random_sae(model, hooks[1], seed=1), first]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[0] + place[1][0])
def test_effects_and_edges_are_slopes_of_real_runs(place):
    """Next to no difference between two runs: then first order is all there is, and real edits say what it must be."""
    model, saes = two(*place)
    task, _ = repeats(model, block=4, batch=2)
    late = saes[0]
    circuit = feature_circuit(model, saes, task, nodes=60)
    shift = 1e-5

    def slope(*arguments):
        """Central differences: what is odd in the move."""
        return (run(shift, *arguments) - run(-shift, *arguments)) / (2 * shift)

    own = dict(zip([str(one) for one in circuit.places], circuit.own, strict=True))

    def run(by, at, moves, read_at=None):
        """The metric, or another place's vectors, with `at`'s vectors moved by a little of a node at every token."""
        site = at.site(model)
        seen = []

        def move(vectors, where):
            rows = slice(None) if vectors.dim() == 3 else where.start // site.every
            if read_at is not None:  # an edge does not go through a state that is read again
                vectors = own[str(site)].inputs[:, rows]
            return vectors + by * moves[:, rows]

        hooks = [site.editor_at(model, move)]
        if read_at is not None:
            hooks.append(read_at.site(model).reader(model, lambda v, hook: seen.append(v)))
        with torch.no_grad():
            logits = model.run_with_hooks(task.tokens, fwd_hooks=hooks)
        if read_at is None:
            return circuit.pair.metric(logits)
        return torch.stack(seen, 1) if seen[0].dim() == 2 else seen[0]

    by_name = {str(sae.site(model)): sae for sae in saes}
    checked = 0
    for name, some in circuit.nodes.groupby("place"):
        sae = by_name[name]
        for row in some.head(3).itertuples():
            feature = own[name].features[..., row.feature, None]
            moves = -own[name].error if row.feature == ERROR else -feature * sae.W_dec[row.feature]
            assert row.effect == pytest.approx(float(slope(sae, moves).mean()), rel=1e-3, abs=1e-7)
            checked += 1
    assert checked >= 4
    into = str(late.site(model))
    edges = circuit.edges[(circuit.edges["target"] == into) & (circuit.edges["target_feature"] != ERROR)]
    gradient = _gradient(model, late, task, circuit.pair.metric)
    for edge in edges.head(4).itertuples():
        source = own[edge.source]
        sae = by_name[edge.source]
        size = source.features[..., edge.source_feature, None]
        moves = -source.error if edge.source_feature == ERROR else -size * sae.W_dec[edge.source_feature]
        f, g = (
            (run(by, sae, moves, late) @ late.W_enc + late.b_enc).relu()[..., edge.target_feature]
            for by in (-shift, shift)
        )
        want = ((g - f) / (2 * shift) * (gradient @ late.W_dec[edge.target_feature])).sum(1).mean()
        assert edge.effect == pytest.approx(float(want), rel=1e-3, abs=1e-7)
    assert len(edges) >= 4


def _gradient(model, sae, task, metric):
    kept = []

    def leaf(x, hook):
        kept.append(x.detach().requires_grad_(True))
        return kept[-1]

    return torch.autograd.grad(metric(model.run_with_hooks(task.tokens, fwd_hooks=[(sae.cfg.hook, leaf)])).sum(), kept)[
        0
    ]


def test_an_edge_goes_through_no_other_place_and_edges_into_the_metric_are_direct():
    """In a residual stream everything passes each layer: nothing is left of an edge over a place between."""
    model = zoo("attention")
    task, _ = repeats(model)
    saes = [random_sae(model, f"blocks.{layer}.hook_resid_post", seed=layer) for layer in (0, 1, 2)]
    edges = feature_circuit(model, saes, task, nodes=60).edges
    pairs = set(zip(edges["source"], edges["target"], strict=True))
    names = [str(sae.site(model)) for sae in saes]
    assert pairs == {(names[0], names[1]), (names[1], names[2]), (names[2], "metric")}


def test_integrated_gradients_come_nearer_to_the_true_effects():
    model, saes = two("attention", *PLACES[0][1:])
    task, source = repeats(model)
    error = {}
    for method in ("gradient", "integrated"):
        table = feature_circuit(model, saes, task, source, method=method, steps=8, edges=False, nodes=12).exact(12)
        error[method] = float((table["effect"] - table["exact"]).abs().mean())
        assert table["effect"].corr(table["exact"]) > 0.9
    assert error["integrated"] < 0.7 * error["gradient"]


def test_integrated_effects_of_a_place_add_up_to_that_of_replacing_it_all():
    model, saes = two("attention", *PLACES[0][1:])
    task, source = repeats(model)
    added = {}
    for method in ("gradient", "integrated"):
        circuit = feature_circuit(model, saes[0], task, source, method=method, steps=20, edges=False, nodes=1000)
        added[method] = circuit.nodes["effect"].sum()
    site = saes[0].site(model)
    with torch.no_grad():
        theirs = model.run_with_cache(source, site.hook)[1][site.hook]
        swapped = model.run_with_hooks(task.tokens, fwd_hooks=[(site.hook, lambda x, hook: theirs)])
        whole = float((circuit.pair.metric(swapped) - circuit.pair.metric(model(task.tokens))).mean())
    assert added["integrated"] == pytest.approx(whole, rel=0.02)
    assert added["gradient"] != pytest.approx(whole, rel=0.1)


def test_all_nodes_carry_the_whole_metric_and_none_nothing():
    model, saes = two(*PLACES[2])
    task, source = repeats(model, block=4, batch=2)
    circuit = feature_circuit(model, saes, task, source, nodes=10_000, by_position=True, edges=False)
    for replaced in ("mean", "zero", "source"):
        table = circuit.faithfulness([0, 5, len(circuit.nodes)], replaced=replaced)
        assert table["faithfulness"][0] == pytest.approx(0, abs=1e-9)
        assert table["completeness"][0] == pytest.approx(1, abs=1e-9)
        assert (table["faithfulness"][1] + table["completeness"][1]) != pytest.approx(1, abs=1e-6)
    # Features that are off in both runs are no nodes; with "source" they stay off, and nothing is lost.
    assert table["faithfulness"][2] == pytest.approx(1, abs=1e-6)
    assert abs(table["completeness"][2]) < 0.05


def test_a_picture_shows_nodes_edges_and_metric():
    model, saes = two(*PLACES[0])
    task, _ = repeats(model)
    circuit = feature_circuit(model, saes, task, nodes=8)
    figure = circuit.figure(nodes=5, edges=6)
    labels = [label for trace in figure.data if trace.text is not None for label in trace.text]
    assert len(labels) == 6 and labels[-1] == "metric"
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert 0 < len(lines) <= 6


def test_circuits_that_cannot_be_are_refused():
    model, saes = two(*PLACES[0])
    task, source = repeats(model)
    for arguments, says in (
        ((model, [], task), "give an autoencoder"),
        ((model, [saes[0], saes[0]], task), "Two autoencoders are at"),
        ((model, saes, task, source[:, :4]), "position by position"),
        ((model, saes, task.tokens), "do not say what is measured"),
        ((model, saes, task, None, lambda logits: logits[:, 0, 0] * 0 + logits.detach()[:, -1, 0]), "No feature"),
    ):
        with pytest.raises(InputError, match=says):
            feature_circuit(*arguments)
    with pytest.raises(InputError, match="Sizes go from 0"):
        feature_circuit(model, saes, task, nodes=3, edges=False).faithfulness([9])
