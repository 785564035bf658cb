"""Planted shapes are found, and nothing is found where nothing was planted."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.saes import SaeConfig, SparseAutoencoder, VectorSite
from workbench.saes.geometry import (
    CirclePatch,
    angles_of,
    cluster_directions,
    clustering_entropy,
    co_occurrence,
    eigenvalues,
    fit_circle,
    irreducible_features,
    irreducible_table,
    lobes,
    mixture,
    parallelograms,
    read_co_occurrence,
    separability,
    spectrum_slope,
)

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def relations(generator, distractor=0.0, noise=0.02, d=24, each=10):
    """Three relations of parallel pairs, and one direction that has nothing to do with them."""
    shared = np.linalg.qr(generator.standard_normal((d, d)))[0]
    label = np.repeat(np.arange(3), each)
    first = generator.standard_normal((3 * each, d))
    second = first + shared[label] + noise * generator.standard_normal(first.shape)
    second = second + distractor * generator.standard_normal((len(label), 1)) * shared[5]
    return first, second, label, shared[5:6]


def test_parallel_pairs_are_parallelograms(generator):
    first, second, label, _ = relations(generator, noise=0.0)
    table = parallelograms(first, second, label, shuffles=20).table().set_index("space")
    row = table.loc["as they are"]
    assert row["cosine"] == pytest.approx(1) and row["error"] == pytest.approx(0, abs=1e-6)
    assert row["between"] == pytest.approx(0, abs=1e-9)
    assert row["separation_low"] > 0.99 and row["p"] == pytest.approx(1 / 21)
    assert row["shuffled"] < 0.5


def test_a_distractor_hides_them_until_it_is_projected_out(generator):
    first, second, label, distractor = relations(generator, distractor=5.0)
    found = parallelograms(first, second, label, distractors=distractor, shuffles=20)
    table = found.table().set_index("space")
    hidden, shown, learnt = (table.loc[name] for name in ("as they are", "distractors out", "discriminant"))
    assert hidden["separation"] < 0.3
    assert shown["cosine"] > 0.95 and shown["separation"] > 0.95 and shown["p"] < 0.05
    assert learnt["separation"] > 0.6 and learnt["error"] < hidden["error"]


def test_no_parallels_are_learnt_from_noise(generator):
    first, second = (generator.standard_normal((30, 24)) for _ in range(2))
    table = parallelograms(first, second, np.repeat(np.arange(3), 10), shuffles=40).table()
    assert (table["separation"].abs() < 0.35).all() and (table["p"] > 0.01).all()


def test_pairs_that_make_no_parallelogram_are_refused(generator):
    first, second, label, _ = relations(generator)
    with pytest.raises(InputError, match="1 relations"):
        parallelograms(first, second, np.zeros(30))
    with pytest.raises(InputError, match="one of each a pair"):
        parallelograms(first, second, label[:5])


@pytest.mark.parametrize("slope", [-0.5, -1.5])
def test_a_power_law_is_read_off_the_spectrum(generator, slope):
    scales = np.arange(1, 31, dtype=float) ** (slope / 2)
    points = generator.standard_normal((6000, 30)) * scales
    found = spectrum_slope(points, draws=30)
    assert found.low < slope < found.high or abs(found.slope - slope) < 0.05
    assert abs(found.isotropic) < 0.1
    np.testing.assert_allclose(eigenvalues(points), np.linalg.eigvalsh(np.cov(points.T, bias=True))[::-1], rtol=1e-9)


def test_clusters_have_less_entropy_than_the_gaussian_of_their_covariance(generator):
    smooth = clustering_entropy(generator.standard_normal((2000, 8)) @ generator.standard_normal((8, 8)), dimensions=4)
    spread = np.std(smooth.null)
    assert abs(smooth.clustering - np.mean(smooth.null)) < 5 * spread + 0.05
    assert abs(np.mean(smooth.null)) < 0.1
    # Ten tight balls far apart: entropy of one ball in 4 dimensions plus that of choosing one.
    centres = 10 * generator.standard_normal((10, 4))
    points = centres[generator.integers(10, size=3000)] + 0.05 * generator.standard_normal((3000, 4))
    found = clustering_entropy(points, dimensions=4)
    want = 2 * math.log(2 * math.pi * math.e * 0.05**2) + math.log(10)
    assert found.cloud == pytest.approx(want, abs=0.15)
    assert found.clustering > 5 and found.clustering > 20 * max(found.null)
    with pytest.raises(InputError, match="coincide"):
        clustering_entropy(np.repeat(generator.standard_normal((30, 3)), 10, axis=0), dimensions=2)
    with pytest.raises(InputError, match="no entropy in 5 dimensions"):
        clustering_entropy(points, dimensions=5)


def firing(generator, count=40, stretches=600):
    """Two groups of features, each firing in stretches of its own kind."""
    group = np.arange(count) % 2
    kind = generator.integers(2, size=stretches)
    chance = np.where(group[None] == kind[:, None], 0.5, 0.1)
    return group, torch.from_numpy(generator.random((stretches, count)) < chance)


def test_features_that_fire_together_and_lie_together_make_lobes(generator):
    group, fired = firing(generator)
    counted = co_occurrence(fired.split(100))
    centres = generator.standard_normal((2, 16))
    directions = torch.from_numpy(centres[group] + 0.5 * generator.standard_normal((40, 16)))
    found = lobes(directions, counted, draws=50)
    agree = (found.by_firing == group).mean()
    assert max(agree, 1 - agree) == 1 and found.information == pytest.approx(1)
    assert found.p == pytest.approx(1 / 51) and found.z > 5
    assert found.predicted > 0.95 and found.predicted_shuffled < 0.75
    scattered = lobes(torch.from_numpy(generator.standard_normal((40, 16))), counted, draws=50)
    assert scattered.information < 0.2 and scattered.p > 0.02


def test_affinities_are_their_formulas(generator):
    fired = firing(generator, count=6, stretches=80)[1]
    counted = co_occurrence([fired], least=0.01, most=1.0)
    a, b = fired[:, 0].numpy(), fired[:, 2].numpy()
    both, either, neither = (a & b).sum(), (a | b).sum(), (~a & ~b).sum()
    want = {
        "phi": np.corrcoef(a, b)[0, 1],
        "jaccard": both / either,
        "dice": 2 * both / (a.sum() + b.sum()),
        "overlap": both / min(a.sum(), b.sum()),
        "matching": (both + neither) / 80,
    }
    for kind, value in want.items():
        assert counted.affinity(kind)[0, 2] == pytest.approx(max(value, 0)), kind
    with pytest.raises(InputError, match="affinity is 'cosine'"):
        counted.affinity("cosine")
    with pytest.raises(InputError, match="0 features fire"):
        co_occurrence([torch.zeros(10, 5, dtype=torch.bool)])
    with pytest.raises(InputError, match="40 clusters of 6"):
        lobes(torch.randn(6, 4), counted, clusters=40)


def test_a_circle_is_irreducible_and_its_indices_are_known(generator):
    angle = 2 * np.pi * generator.random(20_000)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    # A chord of the circle: of all strips |cos + c| < 0.1 sqrt(1/2 + c²) the one at the edge holds most.
    offsets = np.linspace(0, 1, 2001)
    width = 0.1 * np.sqrt(0.5 + offsets**2)
    inside = (np.arccos((offsets - width).clip(-1, 1)) - np.arccos((offsets + width).clip(-1, 1))) / np.pi
    assert mixture(circle) == pytest.approx(inside.max(), abs=0.02)
    assert separability(circle) > 0.5
    # Two independent numbers, turned: some rotation makes them independent again.
    square = generator.random((20_000, 2)) - 0.5
    turned = square @ np.array([[0.6, -0.8], [0.8, 0.6]])
    assert separability(turned) < 0.02
    # Either one feature or the other: on one axis half of the time.
    which = generator.random(20_000) < 0.5
    mixed = np.where(which[:, None], [1.0, 0.0], [0.0, 1.0]) * generator.random((20_000, 1))
    assert mixture(mixed) > 0.5 > 3 * mixture(square)
    with pytest.raises(InputError, match="two numbers"):
        separability(np.ones((5, 3)))


def test_a_circle_of_features_is_found_among_others(generator):
    """Seven features point to the corners of a heptagon; eight others lie anywhere."""
    basis = np.linalg.qr(generator.standard_normal((20, 20)))[0]
    corners = 2 * np.pi * np.arange(7) / 7
    wheel = np.cos(corners)[:, None] * basis[0] + np.sin(corners)[:, None] * basis[1]
    directions = torch.from_numpy(np.concatenate([wheel, basis[2:10]])).float()
    groups = cluster_directions(directions, cosine=0.6)
    assert [group.tolist() for group in groups] == [list(range(7))]
    assert any(set(group) == set(range(7)) for group in cluster_directions(directions, clusters=9))
    angle = 2 * np.pi * generator.random(4000)
    x = np.cos(angle)[:, None] * basis[0] + np.sin(angle)[:, None] * basis[1]
    weights = {"W_enc": directions.T.contiguous(), "W_dec": directions}
    weights |= {"b_enc": torch.full((15,), -0.3), "b_dec": torch.zeros(20)}
    sae = SparseAutoencoder(SaeConfig("standard", 20, 15), weights)
    found = irreducible_features(sae, torch.from_numpy(x).float(), cosine=0.6)
    assert found[0].features == tuple(range(7)) and len(found) == 1
    assert found[0].separability[0] > 0.4 and found[0].mixture[0] < 0.35
    row = irreducible_table(found).iloc[0]
    assert row["plane"] == (1, 2) and row["vectors"] == 4000
    around = np.arctan2(found[0].points[:, 1], found[0].points[:, 0])
    turns = np.unwrap(around[np.argsort(angle)])
    assert abs(abs(turns[-1] - turns[0]) - 2 * np.pi) < 0.1
    with pytest.raises(InputError, match="none fires in 200"):
        irreducible_features(sae, torch.zeros(300, 20), cosine=0.6)


def test_a_planted_circle_is_fitted_and_read(generator):
    basis = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))[0]
    days = generator.integers(7, size=200)
    at = angles_of(days, 7)
    x = 3 + 2 * at.cos()[:, None] * basis[0] + 2 * at.sin()[:, None] * basis[1]
    x = x + torch.randn(200, 1, dtype=torch.float64) * basis[4]
    circle = fit_circle(x, at)
    assert circle.explained > 0.9
    torch.testing.assert_close(circle.cosine, 2 * basis[0], atol=0.4, rtol=0)
    exact = fit_circle(x - (x @ basis[4])[:, None] * basis[4], at)
    assert exact.explained == pytest.approx(1)
    torch.testing.assert_close(exact.angle(x), at % (2 * torch.pi), atol=1e-6, rtol=0)
    torch.testing.assert_close(exact.point(at[0]) @ basis[:2].T, x[0] @ basis[:2].T)
    with pytest.raises(InputError, match="three different angles"):
        fit_circle(x[:2], at[:2])
    with pytest.raises(InputError, match="199 angles for 200"):
        fit_circle(x, at[:-1])


@torch.no_grad()
@pytest.mark.parametrize("rest", ["keep", "mean"])
def test_a_patch_moves_the_angle_and_nothing_else(rest):
    model = wb.load("zoo:gla", dtype=torch.float64)
    tokens = model.to_tokens("The meeting began at noon, and nobody was late.")
    site = VectorSite.of(model, HOOK)
    clean = model.run_with_cache(tokens, names_filter=HOOK)[1][HOOK][0]
    circle = fit_circle(clean, angles_of(np.arange(len(clean)), 7))
    for change, want in (({"angle": 1.5}, 1.5), ({"turn": 0.4}, float(circle.angle(clean[3])) + 0.4)):
        with CirclePatch(circle, site, position=3, rest=rest, **change).applied(model, tokens):
            after, cache = model.run_with_cache(tokens, names_filter=HOOK)
        moved = cache[HOOK][0]
        others = [place for place in range(len(clean)) if place != 3]
        torch.testing.assert_close(moved[others], clean[others])
        assert float(circle.angle(moved[3])) == pytest.approx(want % (2 * math.pi), abs=1e-6)
        off = moved[3] - (clean[3] if rest == "keep" else circle.centre)
        torch.testing.assert_close(off, off @ circle.plane.T @ circle.plane, atol=1e-9, rtol=1e-9)
    assert (after - model(tokens)).abs().max() > 1e-4
    with pytest.raises(InputError, match="not both"):
        CirclePatch(circle, site)
    with pytest.raises(InputError, match="rest is"):
        CirclePatch(circle, site, angle=0.0, rest="none")
    state = VectorSite.of(model, "blocks.1.mixer.hook_state", head=0)
    with pytest.raises(InputError, match="leave position out"):
        CirclePatch(circle, state, angle=0.0, position=1).hooks(model)


def test_firing_is_counted_in_stretches_of_text():
    model = wb.load("zoo:attention")
    text = "some small ships sailed south so sailors slept; the tall tree turned to the town. " * 30
    encoder = torch.randn(128, 30, generator=torch.Generator().manual_seed(0))
    weights = {"W_enc": encoder, "W_dec": encoder.T.contiguous()}
    weights |= {"b_enc": torch.full((30,), -25.0), "b_dec": torch.zeros(128)}
    sae = SparseAutoencoder(SaeConfig("standard", 128, 30, hook=HOOK), weights)
    counted = read_co_occurrence(model, sae, text, stretch=20, windows=20, most=1.0)
    rows = model.to_tokens(text, prepend_bos=False)[0][:400].reshape(20, 20)
    with torch.no_grad():
        fired = (sae.encode(model.run_with_cache(rows, names_filter=HOOK)[1][HOOK]) > 0).any(1)[:, counted.features]
    assert counted.stretches == 20 and len(counted.features) > 3
    torch.testing.assert_close(counted.together, fired.float().T @ fired.float())
