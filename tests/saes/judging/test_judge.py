"""An autoencoder's scores: closed forms, the tools' own formulas written out, and baselines that are what they say."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import workbench as wb
from workbench.errors import InputError
from workbench.saes import SaeConfig, SparseAutoencoder, Splice, VectorSite
from workbench.saes.autoencoder import weight_shapes
from workbench.saes.judging import baseline, judge_sae, read_reference, read_vectors, token_windows

TEXT = (
    "The committee met at noon and nobody was late. Fellow citizens of the Senate and of the House, "
    "the state of the Union is strong, and our treaties with other nations are kept. "
) * 12
HOOK = "blocks.1.hook_resid_post"


def random_sae(width, hook=HOOK, d_sae=40, architecture="standard", **options):
    cfg = SaeConfig(architecture, width, d_sae, hook=hook, **options)
    generator = torch.Generator().manual_seed(0)
    return SparseAutoencoder(
        cfg, {name: torch.randn(shape, generator=generator) / 8 for name, shape in weight_shapes(cfg).items()}
    )


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


@pytest.fixture(scope="module")
def judged(model):
    sae = random_sae(128)
    return sae, judge_sae(model, sae, TEXT, length=24, windows=12)


@torch.no_grad()
def test_scores_are_the_formulas_written_out(model, judged):
    sae, judgement = judged
    rows = token_windows(model, TEXT, 24, 12)[::2]
    _, cache = model.run_with_cache(rows, names_filter=HOOK)
    x = cache[HOOK].reshape(-1, 128).double()
    features = sae.encode(cache[HOOK].reshape(-1, 128))
    made = sae.decode(features).double()
    clean = model(rows)
    with Splice(sae).applied(model, rows):
        after = model(rows)
    with model.hooks(fwd_hooks=[(HOOK, lambda tensor, hook: torch.zeros_like(tensor))]):
        zero = model(rows, return_type="loss")

    def loss(logits):
        picked = logits[:, :-1].log_softmax(-1).gather(-1, rows[:, 1:, None])
        return -float(picked.mean())

    want = {
        "loss": loss(after),
        "kl": float((clean.softmax(-1) * (clean.log_softmax(-1) - after.log_softmax(-1))).sum(-1).mean()),
        "loss_recovered": (float(zero) - loss(after)) / (float(zero) - loss(clean)),
        "explained_variance": float(1 - ((x - made) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()),
        "cosine": float(torch.cosine_similarity(x, made).mean()),
        "mse": float(((x - made) ** 2).mean()),
        "l0": float((features > 0).double().sum(-1).mean()),
        "dead": float((features > 0).sum(0).eq(0).double().mean()),
        "norm_ratio": float((made.norm(dim=1) / x.norm(dim=1)).mean()),
    }
    # gamma by search: the factor 1 / gamma brings the reconstruction nearest.
    factors = torch.linspace(-2, 4, 60001, dtype=torch.float64)
    energies = factors**2 * (made**2).sum() - 2 * factors * (made * x).sum()
    want["shrinkage"] = 1 - 1 / float(factors[energies.argmin()])
    got = judgement.table().set_index("autoencoder").loc["sae"]
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=2e-3 if name == "shrinkage" else 1e-4, abs=1e-6), name
        assert name == "dead" or got[f"{name}_low"] <= got[name] <= got[f"{name}_high"], name
    assert got["dead_low"] <= got["dead"] == got["dead_high"]


def test_ablations_and_the_model_are_the_ends_of_the_scale(judged):
    table = judged[1].table().set_index("autoencoder")
    assert table.loc["zero ablation", "loss_recovered"] == 0
    assert table.loc["mean ablation", "loss_recovered_mean"] == 0
    assert table.loc["model", "loss_recovered"] == 1
    # The mean of other text explains less than the text's own, and more than zero does.
    assert table.loc["zero ablation", "explained_variance"] < table.loc["mean ablation", "explained_variance"] <= 0
    assert table.loc["zero ablation", "cosine"] == 0
    assert (table.loc[["pca", "neurons", "random"], "l0"].round() == judged[1].k).all()


def test_an_autoencoder_that_changes_nothing_loses_nothing(model):
    eye = torch.eye(128)
    cfg = SaeConfig("standard", 128, 256, hook=HOOK)
    both = torch.cat([eye, -eye])
    weights = {"W_enc": both.T.contiguous(), "W_dec": both, "b_enc": torch.zeros(256), "b_dec": torch.zeros(128)}
    perfect = SparseAutoencoder(cfg, weights)
    judgement = judge_sae(model, {"exact": perfect}, TEXT, length=24, windows=8, baselines=())
    row = judgement.table().set_index("autoencoder").loc["exact"]
    assert row["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert row["loss_recovered"] == pytest.approx(1, abs=1e-5) and row["kl"] < 1e-6
    assert row["shrinkage"] == pytest.approx(0, abs=1e-6)
    assert row["l0"] == pytest.approx(128)
    assert judgement.difference("exact", "mean ablation", "kl").high < 0


@torch.no_grad()
def test_pca_chooses_its_components_for_each_token(model):
    """k components of scikit-learn's PCA with the largest coefficients, a token at a time."""
    from sklearn.decomposition import PCA

    rows = token_windows(model, TEXT, 24, 16)
    site = VectorSite.of(model, HOOK)
    reference = read_reference(model, rows, site)
    x = read_vectors(model, rows, [site])[0][0].reshape(-1, 128).double().numpy()
    peer = PCA().fit(x)
    coefficients = peer.transform(x)
    kept = np.argsort(-np.abs(coefficients), axis=1)[:, :5]
    sparse = np.zeros_like(coefficients)
    np.put_along_axis(sparse, kept, np.take_along_axis(coefficients, kept, 1), 1)
    want = peer.inverse_transform(sparse)
    sae = baseline("pca", reference, random_sae(128), 5)
    made = sae(torch.from_numpy(x).float())
    assert np.abs(made.numpy() - want).max() < 1e-3 * np.abs(x).max()
    neurons = baseline("neurons", reference, random_sae(128), 128)(torch.from_numpy(x).float())
    np.testing.assert_allclose(neurons.numpy(), x, atol=1e-4)


@torch.no_grad()
def test_no_other_scale_of_random_directions_explains_more(model):
    reference = read_reference(model, token_windows(model, TEXT, 24, 16), VectorSite.of(model, HOOK))
    sae = baseline("random", reference, random_sae(128, d_sae=300), 8)
    x = reference.sample - reference.mean.float()

    def error(factor):
        return float((x - factor * (sae(reference.sample) - sae.b_dec)).square().sum())

    assert error(1) < min(error(0.97), error(1.03))
    assert sae.directions().norm(dim=1).std() < 1e-5 * float(sae.directions().norm(dim=1).mean())
    again = baseline("random", reference, random_sae(128, d_sae=300), 8)
    assert torch.equal(sae.W_enc, again.W_enc)
    other = baseline("random", reference, random_sae(128, d_sae=300), 8, seed=1)
    assert not torch.equal(sae.W_enc, other.W_enc)


def test_a_transcoder_is_judged_at_what_it_predicts(model):
    source, target = "blocks.1.mixer.hook_in", "blocks.1.mixer.hook_out"
    sae = random_sae(128, source, architecture="transcoder", d_out=128, hook_out=target)
    judgement = judge_sae(model, sae, TEXT, length=24, windows=40)
    assert judgement.place == target
    table = judgement.table().set_index("autoencoder")
    rows = token_windows(model, TEXT, 24, 40)[::2]
    with torch.no_grad():
        _, cache = model.run_with_cache(rows, names_filter=[source, target])
        x, y = (cache[name].reshape(-1, 128).double() for name in (source, target))
        want = 1 - (y - sae(x.float()).double()).square().sum() / (y - y.mean(0)).square().sum()
    assert table.loc["sae", "explained_variance"] == pytest.approx(float(want), rel=1e-4)
    # All components of the input are the linear map itself: a ridge regression, stronger the fewer vectors there are.
    reference = read_reference(model, rows, VectorSite.of(model, source), VectorSite.of(model, target))
    whole = baseline("pca", reference, sae, 256)(x.float()).double()
    penalty = 128 / len(x) * float(x.var(0, correction=0).mean()) * len(x)
    fitted = torch.from_numpy(Ridge(alpha=penalty).fit(x.numpy(), y.numpy()).predict(x.numpy()))
    torch.testing.assert_close(whole, fitted, atol=1e-3 * float(y.abs().max()), rtol=0)
    assert table.loc["pca", "explained_variance"] > table.loc["random", "explained_variance"]


@pytest.mark.parametrize(
    ("name", "hook", "options"),
    [
        ("zoo:gla", "blocks.1.mixer.hook_out", {}),
        ("zoo:rwkv7", "blocks.1.mixer.hook_z", {"head": 1}),
        ("zoo:mamba", "blocks.2.mixer.hook_state", {"head": 5, "every": 8}),
    ],
)
def test_any_site_of_any_family_is_judged(name, hook, options):
    model = wb.load(name)
    width = VectorSite.of(model, hook, **options).width(model)
    judgement = judge_sae(model, random_sae(width, hook, **options), TEXT, length=24, windows=6)
    table = judgement.table().set_index("autoencoder")
    assert np.isfinite(table.loc[["sae", "pca", "neurons", "random"], ["loss", "kl"]].to_numpy()).all()
    assert table.loc["pca", "explained_variance"] > table.loc["mean ablation", "explained_variance"]


@torch.no_grad()
def test_first_tokens_are_neither_judged_nor_rewritten(model):
    sae = random_sae(128)
    rows = token_windows(model, TEXT, 24, 12)
    judgement = judge_sae(model, sae, rows, baselines=["pca"], first=3)
    row = judgement.table().set_index("autoencoder").loc["sae"]
    judged = rows[::2]
    with Splice(sae, first=3).applied(model, judged):
        logits = model(judged)
    loss = torch.nn.functional.cross_entropy(logits[:, 3:-1].flatten(0, 1), judged[:, 4:].flatten())
    assert row["loss"] == pytest.approx(float(loss), rel=1e-5)
    x = model.run_with_cache(judged, names_filter=HOOK)[1][HOOK][:, 3:].flatten(0, 1).double()
    want = 1 - (x - sae(x.float()).double()).square().sum() / (x - x.mean(0)).square().sum()
    assert row["explained_variance"] == pytest.approx(float(want), rel=1e-4)
    fitted = model.run_with_cache(rows[1::2], names_filter=HOOK)[1][HOOK][:, 3:].flatten(0, 1)
    torch.testing.assert_close(
        read_reference(model, rows[1::2], VectorSite.of(model, HOOK), first=3).mean.float(), fitted.mean(0)
    )
    # What it was trained without is left out where nobody says.
    told = SparseAutoencoder(SaeConfig("standard", 128, 40, hook=HOOK, details={"first": 3}), dict(sae.state_dict()))
    again = judge_sae(model, told, rows, baselines=["pca"]).table().set_index("autoencoder")
    assert again.loc["sae", "loss"] == row["loss"]
    with pytest.raises(InputError, match="Nothing is judged of rows of 24 tokens without their first 23"):
        judge_sae(model, sae, rows, first=23)


def test_one_row_has_scores_without_limits(model):
    judgement = judge_sae(model, random_sae(128), TEXT, length=24, windows=1, fit_on=TEXT, baselines=())
    row = judgement.table().iloc[0]
    assert math.isnan(row["loss_low"]) and math.isnan(row["dead_low"]) and math.isfinite(row["loss"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sae": {}}, "no autoencoder to judge"),
        ({"sae": {"a": random_sae(128), "b": random_sae(128, "blocks.2.hook_resid_post")}}, "different places"),
        ({"sae": {"pca": random_sae(128)}}, "name of a baseline"),
        ({"baselines": ("ica",)}, "No baseline is called 'ica'"),
        ({"windows": 1}, "single row"),
        ({"source": "few"}, "0 rows of 24 tokens"),
        ({"source": []}, "source holds nothing"),
        ({"source": [torch.ones(3).long(), torch.ones(4).long()]}, "one length; these have 3 to 4"),
        ({"sae": random_sae(64)}, "trained on 64 numbers"),
    ],
)
def test_what_cannot_be_judged_is_refused(model, change, says):
    options = {"sae": random_sae(128), "source": TEXT, "length": 24, **change}
    with pytest.raises(InputError, match=says):
        judge_sae(model, **options)


def test_rows_may_come_one_after_the_other_without_end(model):
    def endless():
        while True:
            yield torch.arange(5, 15)

    assert token_windows(model, endless(), count=3).shape == (3, 10)


def test_what_is_too_long_for_a_covariance_is_known_by_its_sample(model, monkeypatch):
    """With a sample of all vectors, the two ways to the components and to the linear map are the same."""
    from workbench.saes.judging import baselines, reference

    rows = token_windows(model, TEXT, 24, 10)
    places = [VectorSite.of(model, f"blocks.1.mixer.{name}") for name in ("hook_in", "hook_out")]
    with_covariance = read_reference(model, rows, *places)
    monkeypatch.setattr(reference, "WITH_COVARIANCE", 64)
    without = read_reference(model, rows, *places)
    assert with_covariance.covariance is not None and without.covariance is None
    directions = torch.randn(5, 128, dtype=torch.float64)
    torch.testing.assert_close(without.mapped(directions), with_covariance.mapped(directions), atol=1e-3, rtol=1e-3)
    overlap = without.components()[:10] @ with_covariance.components()[:10].T
    torch.testing.assert_close(overlap.abs(), torch.eye(10, dtype=torch.float64), atol=1e-3, rtol=0)
    monkeypatch.setattr(reference, "SAMPLE_NUMBERS", 128 * 7)
    few = read_reference(model, rows, *places)
    assert len(few.sample) == 7 and torch.equal(few.sample, without.sample[:: -(-len(without.sample) // 7)])
    assert few.components().shape == (7, 128)
    monkeypatch.setattr(baselines, "MOST_NUMBERS", 100)
    transcoder = random_sae(128, places[0].hook, architecture="transcoder", d_out=128, hook_out=places[1].hook)
    with pytest.raises(InputError, match=r"128 numbers that this transcoder reads .* leave out the baseline neurons"):
        baseline("neurons", few, transcoder, 3)


@torch.no_grad()
def test_neurons_are_the_coordinates_farthest_from_their_mean_at_any_width(model):
    reference = read_reference(model, token_windows(model, TEXT, 24, 16), VectorSite.of(model, HOOK))
    x = reference.sample[:50]
    away = (x - reference.mean.float()).numpy()
    kept = np.argsort(-np.abs(away), axis=1)[:, :5]
    want = np.tile(reference.mean.float().numpy(), (50, 1))
    np.put_along_axis(want, kept, np.take_along_axis(x.numpy(), kept, 1), 1)
    sae = baseline("neurons", reference, random_sae(128), 5)
    np.testing.assert_allclose(sae(x).numpy(), want, atol=1e-5)
    features = sae.encode(x)
    assert ((features > 0).sum(1) == 5).all() and features.shape == (50, 256)
    np.testing.assert_allclose((features @ sae.directions()).numpy(), want - reference.mean.float().numpy(), atol=1e-5)
    assert sum(tensor.numel() for tensor in sae.state_dict().values()) == 128


def test_in_a_subspace_of_a_state_what_lies_outside_is_not_lost():
    """An autoencoder that is exact in six directions of a state changes nothing, and zero ablation only those six."""
    model = wb.load("zoo:gla")
    hook, options = "blocks.1.mixer.hook_state", {"head": 0, "every": 8}
    width = VectorSite.of(model, hook, **options).width(model)
    basis = torch.linalg.qr(torch.randn(width, 6))[0].T
    both = torch.cat([torch.eye(6), -torch.eye(6)])
    weights = {"W_enc": both.T.contiguous(), "W_dec": both, "b_enc": torch.zeros(12), "b_dec": torch.zeros(6)}
    exact = SparseAutoencoder(SaeConfig("standard", 6, 12, hook=hook, **options), weights, basis)
    table = judge_sae(model, exact, TEXT, length=24, windows=6, baselines=["pca"]).table().set_index("autoencoder")
    assert table.loc["sae", "kl"] < 1e-6 < table.loc["zero ablation", "kl"]
    assert table.loc["sae", "l0"] == pytest.approx(6) and table.loc["pca", "explained_variance"] > 0.999
