"""Planted features are recovered by a hand-built autoencoder, missed by a random one, and counted as SAELens does."""

import numpy as np
import pytest
import torch
from sae_lens import synthetic
from sae_lens.saes import StandardSAE, StandardSAEConfig
from scipy.optimize import linear_sum_assignment

from workbench.errors import InputError
from workbench.saes import SaeConfig, SaeTraining, SaeTrainingOptions, SparseAutoencoder
from workbench.saes.judging import judge_recovery, synthetic_batches

FEATURES, WIDTH = 24, 32


def standard(encoder, decoder, bias):
    weights = {"W_enc": encoder, "W_dec": decoder, "b_enc": bias, "b_dec": torch.zeros(decoder.shape[1])}
    return SparseAutoencoder(SaeConfig("standard", *encoder.shape), weights)


@pytest.fixture(scope="module")
def planted():
    """Orthogonal directions, so that their own transposes read them."""
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0][:FEATURES]
    dictionary = synthetic.FeatureDictionary(FEATURES, WIDTH, initializer=None)
    dictionary.feature_vectors.data = directions
    generator = synthetic.ActivationGenerator(FEATURES, torch.full((FEATURES,), 0.1))
    return dictionary, generator


def draws(planted):
    torch.manual_seed(5)
    return list(synthetic_batches(*planted, samples=4000, batch=1000))


def test_the_true_dictionary_scores_one(planted):
    directions = planted[0].feature_vectors.detach()
    order = torch.randperm(FEATURES)
    sae = standard(directions[order].T.contiguous(), directions[order], torch.full((FEATURES,), -1e-3))
    found = judge_recovery(sae, directions, draws(planted))
    table = found.table().set_index("measure")["value"]
    for measure in ("mcc", "uniqueness", "precision", "recall", "f1", "accuracy"):
        assert table[measure] == pytest.approx(1, abs=1e-3), measure
    assert table["explained_variance"] > 0.999 and table["dead"] == 0
    assert table["l0"] == pytest.approx(table["true_l0"], rel=1e-2)
    assert (order[found.pairs[:, 0]] == found.pairs[:, 1]).all()


def test_random_directions_score_what_chance_gives(planted):
    directions = planted[0].feature_vectors.detach()
    drawn = torch.randn(FEATURES, WIDTH)
    sae = standard(drawn.T.contiguous(), drawn, torch.zeros(FEATURES))
    found = judge_recovery(sae, directions, draws(planted))
    chance = []
    for seed in range(20):
        made = np.random.default_rng(seed).standard_normal((FEATURES, WIDTH))
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        similarity = np.abs(made @ directions.numpy().T)
        chance.append(similarity[linear_sum_assignment(-similarity)].mean())
    assert abs(found.mcc - np.mean(chance)) < 4 * np.std(chance)
    assert found.table().set_index("measure").loc["f1", "value"] < 0.35


def test_numbers_are_those_of_saelens_on_the_same_samples(planted):
    generator = torch.Generator().manual_seed(3)
    shapes = {"W_enc": (WIDTH, 40), "W_dec": (40, WIDTH), "b_enc": (40,), "b_dec": (WIDTH,)}
    weights = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    weights["b_enc"][:5] = -100  # dead
    sae = SparseAutoencoder(SaeConfig("standard", WIDTH, 40), weights)
    peer = StandardSAE(StandardSAEConfig(d_in=WIDTH, d_sae=40, apply_b_dec_to_input=False))
    peer.load_state_dict(weights)
    found = judge_recovery(sae, planted[0].feature_vectors.detach(), draws(planted))
    torch.manual_seed(5)
    want = synthetic.eval_sae_on_synthetic_data(peer, *planted, num_samples=4000, batch_size=1000)
    got = found.table().set_index("measure")["value"]
    for name, value in {
        "mcc": want.mcc,
        "uniqueness": want.uniqueness,
        "explained_variance": want.explained_variance,
        "true_l0": want.true_l0,
        "l0": want.sae_l0,
        "norm_ratio": want.shrinkage,
        "dead": want.dead_latents,
        "precision": want.classification.precision,
        "recall": want.classification.recall,
        "f1": want.classification.f1_score,
        "accuracy": want.classification.accuracy,
    }.items():
        # Vectors of no length have no ratio, and batches that differ in how many there are count alike here.
        assert got[name] == pytest.approx(value, abs=2e-4 if name == "norm_ratio" else 2e-5), name
    assert want.dead_latents == 5


def test_training_recovers_what_was_planted(planted):
    torch.manual_seed(0)
    options = SaeTrainingOptions(
        architecture="topk", d_sae=FEATURES, k=3, tokens=200_000, batch=500, learning_rate=3e-3, seed=1
    )
    batches = (vectors for _, vectors in synthetic_batches(*planted, samples=200_000, batch=500))
    sae = SaeTraining(options, WIDTH, progress=False).run(batches)
    assert judge_recovery(sae, planted[0].feature_vectors.detach(), draws(planted)).mcc > 0.9


def test_a_dictionary_of_another_width_is_refused(planted):
    sae = standard(torch.randn(WIDTH, 3), torch.randn(3, WIDTH), torch.zeros(3))
    with pytest.raises(InputError, match="7 numbers a feature"):
        judge_recovery(sae, torch.randn(3, 7), [])
    with pytest.raises(InputError, match="no batch"):
        judge_recovery(sae, torch.randn(3, WIDTH), [])
