"""Absorption of planted letters, counted by hand; sparse probes find planted features."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.probes.linear import labelled_states
from workbench.saes import SaeConfig, SparseAutoencoder, VectorSite
from workbench.saes.judging import absorption, first_letter_absorption, labelled_words, probe_features, vocabulary

WIDTH, TOKENS, EACH = 40, 36, 8
HOOK = "blocks.1.hook_resid_post"


def planted(absorbed=(), split=False):
    """Tokens 0 to 17 are of the letter: its direction and the token's own; an autoencoder that reads them exactly.

    The letter's feature is silent on the `absorbed` tokens, whose own features write the letter's direction as well.
    """
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64))[0].float()
    letter, own, other = basis[0], basis[1 : TOKENS + 1], basis[-1]
    token = np.repeat(np.arange(TOKENS), EACH)
    positive = token < 18
    strength = 1 + 0.1 * torch.randn(len(token), generator=generator)
    x = own[token] + torch.where(torch.as_tensor(positive)[:, None], letter * strength[:, None], torch.zeros(1))
    x = x + 0.02 * torch.randn(x.shape, generator=generator)
    decoder = torch.cat([letter[None], own, other[None]])
    encoder = decoder.clone()
    for one in absorbed:
        encoder[0] -= 3 * own[one]
        decoder[1 + one] += letter
    if split:  # the second half of the letter's tokens has a feature of its own
        encoder[0] -= 3 * own[9:18].sum(0)
        encoder[-1] = letter - 3 * own[:9].sum(0)
        decoder[-1] = letter
    weights = {"W_enc": encoder.T.contiguous(), "W_dec": decoder}
    weights |= {"b_enc": torch.full((len(decoder),), -0.2), "b_dec": torch.zeros(WIDTH)}
    return SparseAutoencoder(SaeConfig("standard", WIDTH, len(decoder)), weights), x, positive, token


def test_features_of_their_own_absorb_nothing():
    found = absorption(*planted())
    assert found.features == (0,)
    assert found.f1 > 0.99 and found.probe_f1 > 0.99
    assert len(found.rows) == 18 * EACH and not found.full.any() and not found.fraction.any()


def test_absorbed_tokens_are_those_that_were_planted():
    sae, x, positive, token = planted(absorbed=(3, 7, 11))
    found = absorption(sae, x, positive, token)
    assert found.features == (0,)
    assert set(found.groups[found.full]) == {3, 7, 11}
    assert found.full.sum() == 3 * EACH
    assert {(int(g), int(f)) for g, f in zip(found.groups[found.full], found.absorber[found.full], strict=True)} == {
        (3, 4),
        (7, 8),
        (11, 12),
    }
    np.testing.assert_array_equal(found.fraction[found.full], 1)
    assert not found.fraction[~found.full].any()


def test_a_letter_in_two_features_is_split_and_not_absorbed():
    found = absorption(*planted(split=True))
    assert set(found.features) == {0, TOKENS + 1}
    assert not found.full.any()


def test_half_of_a_letter_carried_elsewhere_is_absorbed_in_part():
    sae, x, positive, token = planted()
    # On token 5 the letter's feature gives half, and the token's own writes the other half.
    own = sae.W_dec[6].clone()
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    weights["W_enc"][:, 0] -= 0.4 * own
    weights["W_dec"][6] += 0.5 * sae.W_dec[0]
    found = absorption(SparseAutoencoder(sae.cfg, weights), x, positive, token)
    part = found.fraction[found.groups == 5]
    assert not found.full.any() and (found.fraction[found.groups != 5] == 0).all()
    # What carries less than two fifths counts for nothing, and the strength of the letter varies.
    assert np.all((part == 0) | ((part > 0.4) & (part < 0.6))) and (part > 0).sum() >= 4


def test_what_absorption_cannot_be_asked_of_is_refused():
    sae, x, positive, token = planted()
    with pytest.raises(InputError, match="2 groups of positive rows"):
        absorption(sae, x, token < 2, token)
    cfg = SaeConfig("standard", WIDTH, len(sae.W_dec), normalize_activations="layer_norm")
    with pytest.raises(InputError, match="in its own scale"):
        absorption(SparseAutoencoder(cfg, dict(sae.state_dict())), x, positive, token)


TEXT = (
    "some small ships sailed south so sailors slept; the tall tree to the town then turned and took ten things. "
    "State Senate said seven secretaries serve, that this treaty they trust, the terms. Such support since some "
) * 12


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


def test_labels_are_what_the_tokens_say(model):
    known = vocabulary(model).set_index("token")
    for token in (0, 65, 300, 900, 2000):
        text = model.to_string(torch.tensor([token]))
        row = known.loc[token]
        assert row["text"] == text and row["leading_space"] == text.startswith(" ")
        assert row["digits"] == (text.strip(" ").isdigit() and text.isascii())
        if row["first_letter"] is not None:
            assert text.lstrip().lower().startswith(row["first_letter"])
            assert row["capitalised"] == text.lstrip()[0].isupper()
    data = labelled_words(model, TEXT, "s", length=32)
    for sequence, position, label, group in zip(data.sequence, data.position, data.labels, data.groups, strict=True):
        token = int(data.sequences[sequence][position])
        assert position > 0 and group == token
        assert label == known.loc[token, "text"].lower().lstrip().startswith("s")
    assert np.unique(data.groups, return_counts=True)[1].max() <= 8


def identity_sae(width=128):
    eye = torch.eye(width)
    both = torch.cat([eye, -eye])
    cfg = SaeConfig("standard", width, 2 * width, hook=HOOK)
    weights = {
        "W_enc": both.T.contiguous(),
        "W_dec": both,
        "b_enc": torch.zeros(2 * width),
        "b_dec": torch.zeros(width),
    }
    return SparseAutoencoder(cfg, weights)


def test_letters_of_a_real_model_are_judged_letter_by_letter(model):
    found = first_letter_absorption(model, identity_sae(), TEXT, letters=["s", "t"], length=32)
    table = found.table().set_index("letter")
    assert list(table.index) == ["s", "t", "all"]
    assert table.loc["all", "tokens"] == table.loc[["s", "t"], "tokens"].sum() > 6
    assert ((table["absorbed_low"] <= table["absorbed"]) & (table["absorbed"] <= table["absorbed_high"])).all()
    cases = found.cases()
    assert len(cases) == sum(int(one.full.sum()) for one in found.letters.values())
    assert cases["token"].str.strip().str.lower().str[0].isin(["s", "t"]).all()
    with pytest.raises(InputError, match="'ß' is no letter"):
        first_letter_absorption(model, identity_sae(), TEXT, letters=["ß"])
    with pytest.raises(InputError, match="No letter begins 6"):
        first_letter_absorption(model, identity_sae(), TEXT[:80], length=8)


def test_a_feature_that_is_the_label_needs_one_unit_where_raw_numbers_need_more(model):
    """The label's own direction, found by a probe on all numbers, as one feature of an autoencoder."""
    data = labelled_words(model, TEXT, "leading_space", length=32, rows=300)
    site = VectorSite.of(model, HOOK)
    from workbench.probes.linear import fit_probe
    from workbench.saes.judging.places import vectors_at

    _, vectors = vectors_at(model, data, site)
    probe = fit_probe(vectors.numpy(), data.labels)
    sae = identity_sae()
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    weights["W_enc"][:, 17] = torch.from_numpy(probe.weight[0]).float()
    weights["b_enc"][17] = float(probe.bias[0])
    table = probe_features(model, SparseAutoencoder(sae.cfg, weights), data, ks=(1,))
    one, raw, every = (table.iloc[row] for row in range(3))
    assert (one["space"], raw["space"], every["k"]) == ("features", "activations", 128)
    assert one["units"] == (17,) and one["stability"] == 1
    assert one["accuracy"] > 0.95 > raw["accuracy"]
    assert one["accuracy_low"] <= one["accuracy"] <= one["accuracy_high"]


def test_known_states_of_a_task_are_probed_at_a_recurrent_state():
    model = wb.load("zoo:gla")
    data = labelled_states(wb.tasks.flip_flop(model, batch=12))
    site = VectorSite.of(model, "blocks.1.mixer.hook_state", head=0, every=3)
    width = site.width(model)
    generator = torch.Generator().manual_seed(0)
    weights = {"W_enc": torch.randn(width, 30, generator=generator), "W_dec": torch.randn(30, width)}
    weights |= {"b_enc": torch.zeros(30), "b_dec": torch.zeros(width)}
    cfg = SaeConfig("standard", width, 30, hook=site.hook, head=0, every=3)
    table = probe_features(model, SparseAutoencoder(cfg, weights), data, ks=(1, 4))
    assert list(table["k"]) == [1, 4, 1, 4, width]
    assert ((table["accuracy"] >= 0) & (table["accuracy"] <= 1)).all()
