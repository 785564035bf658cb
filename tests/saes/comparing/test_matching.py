"""Matches between models: planted copies are found, chance is told from fact, and tokenizers may differ."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.saes import SaeConfig, SparseAutoencoder, VectorSite
from workbench.saes.comparing import Units, compare_spaces, match_features, passages, shared_places, token_ends
from workbench.saes.comparing.matching import Matches
from workbench.saes.comparing.moments import CrossMoments
from workbench.saes.comparing.prediction import PartnerMoments

TEXT = (
    "The committee met at noon and nobody was late. Fellow citizens of the Senate and of the House, "
    "the state of the Union is strong, and our treaties with other nations are kept — naïve or not. "
    "In 1862 the harvest failed; 3,000 people went west, and their letters tell us why they did so. "
) * 10
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def byte_model():
    """A random GPT-2 whose tokens are bytes and a few pairs of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet))
    config = GPT2Config(vocab_size=300, n_positions=128, n_embd=32, n_layer=2, n_head=4)
    return wb.load(GPT2LMHeadModel(config), tokenizer=PreTrainedTokenizerFast(tokenizer_object=pieces))


@pytest.fixture(scope="module")
def centre(model):
    """The mean of what passes, so that directions at random fire about half of the time."""
    with torch.no_grad():
        return model.run_with_cache(model.to_tokens(TEXT[:900]), names_filter=HOOK)[1][HOOK][0].mean(0)


def relu_sae(encoder, centre, hook=HOOK):
    width, count = encoder.shape
    weights = {"W_enc": encoder, "W_dec": encoder.T.contiguous()}
    weights |= {"b_enc": -centre @ encoder, "b_dec": torch.zeros(width)}
    return SparseAutoencoder(SaeConfig("standard", width, count, hook=hook), weights)


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


@pytest.fixture(scope="module")
def planted(model, centre) -> tuple[Matches, torch.Tensor]:
    """Twelve features, and the same in another order beside five of their own."""
    generator = torch.Generator().manual_seed(1)
    encoder = torch.randn(128, 12, generator=generator)
    order = torch.randperm(17, generator=generator)
    other = torch.cat([3 * encoder, torch.randn(128, 5, generator=generator)], 1)[:, order]
    found = match_features(
        Units.of(model, relu_sae(encoder, centre)), Units.of(model, relu_sae(other, centre)), TEXT, characters=150
    )
    return found, order


def test_a_permuted_copy_is_matched_unit_by_unit(planted):
    found, order = planted
    table = found.table()
    assert len(table) == 12
    assert (order[table["partner"].to_numpy()].numpy() == table["unit"].to_numpy()).all()
    for column in ("correlation", "correlation_low", "fitted", "best_correlation"):
        np.testing.assert_allclose(table[column], 1, atol=1e-5)
    assert table["mutual"].all() and (table["best"] == table["partner"]).all()
    np.testing.assert_allclose(table["predicted"], 1, atol=1e-2)
    summary = found.summary().set_index("measure")
    assert summary.loc["one_to_one", "value"] == pytest.approx(1, abs=1e-5)
    assert summary.loc["one_to_one", "shuffled"] < 0.35 and summary.loc["best", "shuffled"] < 0.35


def test_correlations_are_those_of_the_values_kept_whole(model, centre):
    generator = torch.Generator().manual_seed(2)
    saes = [relu_sae(torch.randn(128, count, generator=generator), centre) for count in (7, 9)]
    found = match_features(*(Units.of(model, sae) for sae in saes), TEXT, characters=150)
    parts = passages(TEXT, 150)
    halves = []
    for half in (parts[0::2], parts[1::2]):
        x = []
        for text in half:
            with torch.no_grad():
                _, cache = model.run_with_cache(model.to_tokens(text, prepend_bos=False), names_filter=HOOK)
            # Tokens that share an end with a later one are within a character.
            ends = token_ends(model, text)[1]
            x.append(cache[HOOK][0][[place for place, end in enumerate(ends) if end]])
        halves.append([sae.encode(torch.cat(x)).double().numpy() for sae in saes])
    fitted = np.corrcoef(*(side.T for side in halves[0]))[:7, 7:]
    tested = np.corrcoef(*(side.T for side in halves[1]))[:7, 7:]
    for row in found.table().itertuples():
        assert row.fitted == pytest.approx(fitted[row.unit, row.partner], abs=1e-4)
        assert row.correlation == pytest.approx(tested[row.unit, row.partner], abs=1e-4)
        assert row.best_correlation == pytest.approx(fitted[row.unit].max(), abs=1e-4)
    total = fitted[tuple(found.pairs.T.numpy())].sum()
    generator_np = np.random.default_rng(0)
    assert all(total >= fitted[np.arange(7), generator_np.permutation(9)[:7]].sum() - 1e-9 for _ in range(300))
    # R² of a regression on the five best partners, fitted on one half and tested on the other.
    unit = 3
    best = np.argsort(-fitted[unit])[:5]
    x, y = halves[0][1][:, best], halves[0][0][:, unit]
    weights = np.linalg.lstsq(x - x.mean(0), y - y.mean(), rcond=None)[0]
    x, y = halves[1][1][:, best], halves[1][0][:, unit]
    left = (y - y.mean()) - (x - x.mean(0)) @ weights
    assert float(found.predicted[unit]) == pytest.approx(1 - left.var() / y.var(), abs=0.02)


def test_a_sum_of_units_is_predicted_by_them_together_and_by_none_alone():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3000, 4, generator=generator)
    y = x.sum(1, keepdim=True)
    moments = CrossMoments(1, 4)
    moments.add(y, x)
    assert moments.correlation()[0].max() < 0.6
    for count in (1, 4):
        products = PartnerMoments(torch.arange(count)[None], moments)
        products.add(y, x)
        assert float(products.explained_by(products.ridge())[0]) == pytest.approx(count / 4, abs=0.06)


def test_moments_added_in_parts_are_the_moments_of_the_whole():
    a, b = torch.randn(500, 3) * 2 + 1000, torch.randn(500, 2) - 500
    b[:, 0] += a[:, 1]
    moments = CrossMoments(3, 2, within=True)
    for part in range(0, 500, 70):
        moments.add(a[part : part + 70], b[part : part + 70])
    want = np.cov(a.double().numpy().T, b.double().numpy().T, bias=True)
    np.testing.assert_allclose(moments.covariance(), want[:3, 3:], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moments.covariance(1), want[:3, :3], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moments.covariance(2), want[3:, 3:], rtol=1e-6, atol=1e-6)
    constant = CrossMoments(1, 1)
    constant.add(torch.full((50, 1), 0.1), torch.randn(50, 1))
    assert float(constant.correlation()) == 0
    with pytest.raises(InputError, match="compare fewer units"):
        CrossMoments(40_000, 40_000)


def test_models_of_two_families_and_tokenizers_are_compared(model, byte_model):
    other = byte_model
    text = TEXT[:600]
    ids, ends = token_ends(model, text)
    other_ids, other_ends = token_ends(other, text)
    assert len(ids) < len(other_ids)
    one, two = shared_places(ends, other_ends)
    assert 0 < len(one) <= len(ids)
    for place, there in list(zip(one, two, strict=True))[::7]:
        read = model.to_string(torch.tensor(ids[: place + 1]))
        assert read == other.to_string(torch.tensor(other_ids[: there + 1])) == text[: len(read)]
    found = match_features(
        Units.of(model, "blocks.0.hook_resid_post"),
        Units.of(other, "blocks.0.hook_resid_post"),
        text,
        characters=50,
        absolute=True,
    )
    assert len(found.pairs) == 32 and (found.fitted.abs() <= 1).all()
    assert found.summary().set_index("measure").loc["one_to_one", "value"] > 0


def test_spaces_of_one_model_are_themselves_and_those_of_two_are_between(model):
    place = Units.of(model, HOOK)
    same = compare_spaces(place, place, TEXT, characters=150).table().set_index("measure")
    np.testing.assert_allclose(same["value"], 1, atol=1e-6)
    assert (same["shuffled"] < 0.75).all() and same.loc["rsa", "shuffled"] < 0.1
    state = Units.of(wb.load("zoo:gla"), VectorSite.of(wb.load("zoo:gla"), "blocks.1.mixer.hook_z", head=0))
    other = compare_spaces(place, state, TEXT, characters=150).table().set_index("measure")
    for measure in ("cka", "rsa"):
        row = other.loc[measure]
        assert row["shuffled"] < row["low"] <= row["value"] <= row["high"] < 1


def test_what_cannot_be_compared_is_refused(model):
    place = Units.of(model, HOOK)
    with pytest.raises(InputError, match="no text to compare on"):
        match_features(place, place, "  ")
    with pytest.raises(InputError, match="One passage"):
        match_features(place, place, "one passage")
    with pytest.raises(InputError, match="Of one passage nothing can be left out"):
        compare_spaces(place, place, "one passage")
    with pytest.raises(InputError, match="partners is 0"):
        match_features(place, place, TEXT, partners=0)
    with pytest.raises(InputError, match="means 4 hooks"):
        Units.of(model, "hook_resid_post")
