"""A pass over a text against the same numbers taken one row at a time, from dense activations."""

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from tests.saes.features.planted import TEXTS, dense, handmade
from workbench.errors import InputError
from workbench.probes.weights import ModelWeights
from workbench.saes import FeatureStore, TextSource, collect_features

OPTIONS = {
    "shard_tokens": 300,
    "windows": 3,
    "length": 48,
    "context": (6, 4),
    "top": 4,
    "per_band": 2,
    "random": 3,
    "silent": 4,
    "bins": 8,
}


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


@pytest.fixture(scope="module")
def collected(model, tmp_path_factory):
    """A store, the autoencoder, and dense activations row by row."""
    sae = handmade(model, k=6)
    folder = tmp_path_factory.mktemp("it's [a] store")
    store = collect_features(model, sae, TEXTS, folder, neurons="blocks.2.mlp.hook_post", **OPTIONS)
    return store, sae, dense(model, sae, store)


def test_the_text_is_kept_as_it_is(collected, model):
    store, _, _ = collected
    rows = [store.row(number) for number in range(store.info.rows)]
    for ids, tokens in rows:
        assert "".join(tokens) == model.tokens.decode(ids)
        assert len(ids) == len(tokens)
    together = "".join("".join(tokens) for _, tokens in rows)
    assert "<b>Water</b>" in together and "שלום" in together and "العالم" in together and "\n\n\tA tab" in together
    assert store.info.tokens == sum(len(ids) for ids, _ in rows)
    assert store.info.shards > 1


def test_the_final_norms_scale_is_the_one_in_the_middle_of_the_text(collected, model):
    """Of zoo:attention, whose last norm is an RMSNorm: the root of the mean square of what it reads."""
    store, *_ = collected
    norms = []
    for row in range(min(8, store.info.rows)):
        ids = torch.tensor([store.row(row)[0]])
        stream = model.run_with_cache(ids)[1][f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"]
        norms.append(stream.detach().square().mean(-1).sqrt().flatten())
    assert store.info.final_scale == pytest.approx(float(torch.cat(norms).median()), rel=1e-2)


def test_counts_quantiles_and_histograms_are_of_all_tokens(collected):
    store, _, rows = collected
    every = np.concatenate(rows)
    table = store.features()
    assert table["feature"].tolist() == list(range(200))
    assert table["count"].tolist() == (every > 0).sum(0).tolist()
    assert table["rows"].tolist() == np.stack([(row > 0).any(0) for row in rows]).sum(0).tolist()
    np.testing.assert_allclose(table["max"], every.max(0), rtol=1e-4)
    np.testing.assert_allclose(table["density"], (every > 0).mean(0))
    assert table["dead"].tolist() == (every.max(0) == 0).tolist()
    assert table["dead"][:3].all() and store.info.dead == int(table["dead"].sum()) < 190
    assert np.isnan(table["mean"][0]) and store.examples(0, "top") == [] and store.histogram(0).empty
    for feature in np.flatnonzero(every.max(0)):
        on = every[every[:, feature] > 0, feature]
        found = table.loc[feature]
        np.testing.assert_allclose(found["mean"], on.mean(), rtol=1e-4)
        want = np.quantile(on.astype(np.float64), [0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
        np.testing.assert_allclose(found[["q05", "q25", "q50", "q75", "q95", "q99"]].to_numpy(float), want, rtol=1e-4)
    busy = int(table["count"].idxmax())
    on = store.activations(busy)["value"].to_numpy()
    shown = store.histogram(busy)
    assert shown["count"].tolist() == np.histogram(on, bins=8, range=(0, on.max()))[0].tolist()


def test_activations_are_those_of_the_autoencoder(collected):
    store, _, rows = collected
    for feature in (int(store.features()["count"].idxmax()), 17, 120):
        listed = store.activations(feature)
        again = [np.zeros(len(row)) for row in rows]
        for row, position, value in listed.itertuples(index=False):
            again[row][position] = value
        for got, row in zip(again, rows, strict=True):
            np.testing.assert_allclose(got, row[:, feature], atol=1e-4, rtol=1e-5)


def test_top_examples_are_the_rows_with_the_highest_maxima(collected):
    store, _, rows = collected
    peaks = np.stack([row.max(0) for row in rows])
    for feature in range(3, 200):
        order = np.argsort(-peaks[:, feature], kind="stable")[:4]
        order = order[peaks[order, feature] > 0]
        examples = store.examples(feature, "top")
        np.testing.assert_allclose([one.value for one in examples], peaks[order, feature], rtol=1e-4)
        for one in examples:
            row = rows[one.row][:, feature]
            stop = min(len(row), one.position + 5)
            assert one.start == max(0, one.position - 6) and len(one.tokens) == stop - one.start
            np.testing.assert_allclose(one.activations, row[one.start : stop], rtol=1e-5, atol=1e-4)
            assert one.activations[one.peak] == one.value == max(one.activations)
            ids, tokens = store.row(one.row)
            assert list(one.token_ids) == ids[one.start : stop] and one.text == "".join(tokens[one.start : stop])


def test_bands_are_equal_parts_of_the_ranks_and_silent_rows_are_silent(collected):
    store, _, rows = collected
    peaks = np.stack([row.max(0) for row in rows])
    names = ["75-100%", "50-75%", "25-50%", "0-25%"]
    seen = dict.fromkeys(names, 0)
    for feature in range(3, 200):
        fires = np.flatnonzero(peaks[:, feature])
        ranked = fires[np.argsort(-peaks[fires, feature], kind="stable")].tolist()
        for number, name in enumerate(names):
            part = [row for place, row in enumerate(ranked) if place * 4 // len(ranked) == number]
            drawn = [one.row for one in store.examples(feature, name)]
            assert len(drawn) == min(2, len(part)) and set(drawn) <= set(part)
            assert [ranked.index(row) for row in drawn] == sorted(ranked.index(row) for row in drawn)
            seen[name] += len(drawn)
        drawn = [one.row for one in store.examples(feature, "random")]
        assert len(set(drawn)) == len(drawn) == min(3, len(fires)) and set(drawn) <= set(fires.tolist())
        silent = store.examples(feature, "silent")
        assert not {one.row for one in silent} & set(fires.tolist())
        assert all(not one.fires for one in silent) and len({one.row for one in silent}) == len(silent)
    assert min(seen.values()) > 50


def test_top_tokens_neighbours_and_neurons(collected, model):
    store, sae, rows = collected
    every = np.concatenate(rows).astype(np.float64)
    ids = np.concatenate([store.row(number)[0] for number in range(len(rows))])
    feature = int(store.features()["count"].idxmax())
    sums = np.bincount(ids, weights=every[:, feature], minlength=2048)
    table = store.top_tokens(feature)
    np.testing.assert_allclose(sums[table["token_id"]], np.sort(sums)[::-1][: len(table)], rtol=1e-4)
    token = int(table["token_id"][0])
    where = ids == token
    assert table["count"][0] == (every[where, feature] > 0).sum()
    np.testing.assert_allclose(table["share"][0], (every[where, feature] > 0).mean())
    np.testing.assert_allclose(table["mean"][0], every[where & (every[:, feature] > 0), feature].mean(), rtol=1e-4)

    on = (every > 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        phi = np.nan_to_num(np.corrcoef(on.T)[feature])
    phi[feature] = -1
    table = store.neighbours(feature, "firing")
    partners = table["feature"].to_numpy()
    both = (on[:, feature, None] * on[:, partners]).sum(0)
    assert table["count"].tolist() == both.tolist()
    np.testing.assert_allclose(table["phi"], phi[partners], atol=1e-9)
    np.testing.assert_allclose(table["phi"], np.sort(phi)[::-1][: len(table)], atol=1e-9)
    union = np.maximum(on[:, feature, None], on[:, partners]).sum(0)
    np.testing.assert_allclose(table["jaccard"], both / union)
    np.testing.assert_allclose(
        table["pmi"], np.log(on[:, partners].mean(0) ** -1 * (both / len(on)) / on[:, feature].mean())
    )

    unit = sae.W_dec / sae.W_dec.norm(dim=-1, keepdim=True)
    cosine = unit @ unit[feature]
    cosine[feature] = -2
    table = store.neighbours(feature)
    assert table["feature"].tolist() == cosine.topk(10).indices.tolist()
    np.testing.assert_allclose(table["cosine"], cosine.topk(10).values, atol=1e-5)

    neurons = []
    for number in range(len(rows)):
        _, cache = model.run_with_cache(torch.tensor([store.row(number)[0]]), "blocks.2.mlp.hook_post")
        neurons.append(cache["blocks.2.mlp.hook_post"][0].detach().numpy())
    neurons = np.concatenate(neurons).astype(np.float64)
    correlation = np.corrcoef(np.column_stack([every[:, feature], neurons]).T)[0, 1:]
    table = store.neurons(feature)
    want = correlation[np.argsort(-np.abs(correlation))[:10]]
    np.testing.assert_allclose(table["correlation"], want, atol=1e-4)
    np.testing.assert_allclose(correlation[table["neuron"]], want, atol=1e-4)


def test_logits_are_what_the_unembedding_makes_of_a_direction(collected, model):
    store, sae, _ = collected
    table = store.logits(40)
    logits, cache = model.run_with_cache("The meeting began", ["blocks.3.hook_resid_post", "ln_final.hook_normalized"])
    stream = cache["blocks.3.hook_resid_post"][0, -1].double().detach()
    normed = cache["ln_final.hook_normalized"][0, -1].double().detach()
    W_U = ModelWeights(model).W_U.detach().double()
    np.testing.assert_allclose(normed @ W_U, logits[0, -1].double().detach(), atol=1e-3)
    # An RMS norm divides by one number and multiplies by its weight, which shows in any token that went through it.
    weight = normed / stream * stream.square().mean().sqrt()
    effects = (sae.W_dec[40].double() * weight) @ W_U
    want = torch.cat([effects.topk(10).values, effects.topk(10, largest=False).values.flip(0)])
    np.testing.assert_allclose(table["effect"], want, rtol=1e-3, atol=1e-4)
    assert table["token_id"][0] == int(effects.argmax()) and table["token_id"][19] == int(effects.argmin())


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("standard", {}), ("jumprelu", {}), ("gated", {}), ("topk", {"k": 4, "rescale_acts_by_decoder_norm": True})],
)
def test_every_architecture_and_the_first_tokens_left_out(model, tmp_path, architecture, options):
    sae = handmade(model, architecture, **options)
    store = collect_features(model, sae, TEXTS, tmp_path, first=2, **OPTIONS)
    rows = dense(model, sae, store)
    counted = np.concatenate([row[2:] for row in rows])
    assert store.info.tokens == len(counted)
    table = store.features()
    assert table["count"].tolist() == (counted > 0).sum(0).tolist()
    assert 0 < (counted > 0).mean() < 0.5
    np.testing.assert_allclose(table["max"], counted.max(0), rtol=1e-4, atol=1e-5)


def test_a_recurrent_state_one_token_in_eight(tmp_path):
    model = wb.load("zoo:mamba")
    sae = handmade(model, hook="blocks.1.mixer.hook_state", k=5, every=8)
    store = collect_features(model, sae, TextSource(TEXTS[:1], 32, seed=None), tmp_path, shard_tokens=8)
    rows = dense(model, sae, store)
    table = store.features()
    assert store.info.tokens == sum(len(row) // 8 for row in rows)
    assert table["count"].tolist() == np.concatenate([row > 0 for row in rows]).sum(0).tolist()
    assert store.logits(5).empty and "is not the residual stream" in store.info.no_logits
    assert store.info.final_scale is None
    assert store.neurons(5).empty
    example = store.examples(int(table["count"].idxmax()), "top", 1)[0]
    assert example.position % 8 == 7


def assert_same(one, other):
    pd.testing.assert_frame_equal(one, other, check_dtype=bool(len(one)))  # a table without rows knows no strings


def test_many_features_together_are_what_each_is_alone(collected):
    store, *_ = collected
    asked = [7, 3, 150, 0, 151, 199]
    batch = store.batch(asked)
    for feature in asked:
        for name in ("logits", "histogram", "top_tokens", "neurons", "neighbours"):
            assert_same(getattr(batch, name)(feature), getattr(store, name)(feature))
        assert_same(batch.neighbours(feature, "firing"), store.neighbours(feature, "firing"))
        assert batch.examples(feature) == store.examples(feature)
        assert batch.examples(feature, "top", 2) == store.examples(feature, "top")[:2]
        for one in batch.examples(feature, ["random", "top"], 3):
            ids, tokens = store.row(one.row)
            assert list(one.tokens) == tokens[one.start : one.start + len(one.tokens)]
            assert list(one.token_ids) == ids[one.start : one.start + len(one.tokens)]
    assert store.batch([]).features == ()
    with pytest.raises(InputError, match="Feature 4 is none of the 6"):
        batch.logits(4)
    with pytest.raises(InputError, match="no feature 200"):
        store.batch([1, 200])


def test_opening_reads_only_and_anybody_may(collected):
    store, sae, _ = collected
    other = FeatureStore(store.folder)
    assert repr(other) == repr(store) and "zoo" in repr(other)
    assert torch.equal(other.sae.W_enc, sae.W_enc)
    counted = other.query("select count(*) as n, sum(count) as tokens from features")
    assert counted["n"][0] == 200 and counted["tokens"][0] == other.features()["count"].sum()
    joined = other.query("select text, tokens, len(activations) as n from examples where feature = 50 and band = 'top'")
    assert [one.text for one in other.examples(50, "top")] == joined["text"].tolist()
