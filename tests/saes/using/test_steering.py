"""Steering at several strengths is generation with an edit, beside generation without, at one seed."""

import math

import pytest
import torch

from tests.saes.using.hand_made import TEXT, random_sae, zoo
from workbench.errors import InputError
from workbench.saes import repeated_ngrams, steer_features, strengths_for
from workbench.saes.using.steering import STRENGTHS

PROMPT = "The people of this"


@torch.no_grad()
@pytest.mark.parametrize(("name", "temperature"), [("attention", 0.0), ("rg_lru", 0.9)])
def test_texts_and_costs_are_those_of_runs_edited_by_hand(name, temperature):
    model = zoo(name)
    sae = random_sae(model, "blocks.2.hook_resid_post")
    maxima = torch.linspace(1, 3, 24)
    found = steer_features(
        model,
        sae,
        PROMPT,
        {3: 2.0, 7: 1.0},
        strengths=(0.0, 5.0, -15.0),
        how="add",
        maxima=maxima,
        temperature=temperature,
        seed=4,
        max_new_tokens=12,
        text=TEXT,
    )
    table = found.table()
    assert list(table["strength"]) == [0.0, 5.0, -15.0] and table["kl"][0] == 0
    tokens = model.to_tokens(PROMPT)
    plain = model(TEXT).log_softmax(-1)
    for row in table.itertuples():
        shift = row.strength * (2 * maxima[3] * sae.W_dec[3] + maxima[7] * sae.W_dec[7])
        with model.hooks(fwd_hooks=[("blocks.2.hook_resid_post", lambda x, hook, shift=shift: x + shift)]):
            written = model.generate(tokens, 12, temperature=temperature, seed=4)
            steered, loss = model(TEXT, return_type="both")
        kl = (plain.exp() * (plain - steered.log_softmax(-1))).sum(-1).mean()
        assert row.text == model.to_string(written[0, tokens.shape[1] :])
        assert row.kl == pytest.approx(float(kl), abs=1e-9)
        assert row.loss == pytest.approx(float(loss), abs=1e-9)
    assert len(set(table["text"])) >= 2 and (table["kl"][1:] > 0.01).all()
    assert found.unsteered == table["text"][0]


def test_a_clamped_feature_is_held_and_a_second_prompt_refused():
    model = zoo("attention")
    sae = random_sae(model, "blocks.2.hook_resid_post")
    held = steer_features(model, sae, PROMPT, {3: 30.0}, max_new_tokens=3)
    assert held.features == {3: 30.0} and held.kl[1] > 0.01
    with pytest.raises(InputError, match="One prompt"):
        steer_features(model, sae, [PROMPT, PROMPT], {3: 1.0})
    with pytest.raises(InputError, match="no strength but 0"):
        steer_features(model, sae, PROMPT, {3: 1.0}, strengths=[0])
    with pytest.raises(InputError, match="how is 'push'"):
        steer_features(model, sae, PROMPT, {3: 1.0}, how="push")


def test_strengths_are_found_by_the_divergence_that_they_make():
    model = zoo("attention")
    sae = random_sae(model, "blocks.2.hook_resid_post")
    wanted = (0.05, 0.5, 2.0)
    found = strengths_for(model, sae, TEXT, {3: 30.0}, wanted, how="add")
    made = steer_features(model, sae, PROMPT, {3: 30.0}, strengths=found, how="add", text=TEXT, max_new_tokens=1)
    assert made.kl[1:] == pytest.approx(wanted, rel=0.2)
    assert strengths_for(model, sae, TEXT, {3: 30.0}, [1e-9, 1e9], how="add") == (float(f"{STRENGTHS[0]:.2g}"), 16.0)
    with pytest.raises(InputError, match="above 0"):
        strengths_for(model, sae, TEXT, {3: 1.0}, [0.1, 0.0])
    with pytest.raises(InputError, match="One text"):
        strengths_for(model, sae, [TEXT, TEXT], {3: 1.0}, [0.1])


def test_repetition_is_the_share_of_ngrams_that_came_before():
    texts = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 1, 2, 1, 2, 1, 2], [5] * 8])
    assert repeated_ngrams(texts, 2).tolist() == pytest.approx([0, 5 / 7, 6 / 7])
    assert repeated_ngrams(texts).tolist() == pytest.approx([0, 3 / 5, 4 / 5])
    assert repeated_ngrams(texts[:, :3]).tolist() == [0, 0, 0]
    assert not math.isnan(float(repeated_ngrams(texts[:1], 1)[0]))
    with pytest.raises(InputError, match="n is 0"):
        repeated_ngrams(texts, 0)
