"""A hand-built model's dead, token, bigram and positional neurons are named, and exactly these."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.neurons import Corpus, neuron_statistics, token_corpus, token_effects
from workbench.probes.neurons.firing import NeuronStatistics

from .hand_built import (
    ALWAYS,
    BIGRAM,
    CONTEXT,
    DEAD,
    EARLY,
    FIRST,
    KNOWN,
    PAIR,
    TOKEN,
    TOKENS,
    model_with_known_neurons,
)


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return wb.load(model_with_known_neurons(), check=False)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    tokens = torch.randint(1, TOKENS, (60, CONTEXT), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    for row in range(0, 60, 2):
        at = 1 + 7 * row % 29  # no place is special
        tokens[row, at : at + 2] = torch.tensor(PAIR)
    return token_corpus(tokens)


@pytest.fixture(scope="module")
def statistics(model: HookedModel, corpus: Corpus) -> NeuronStatistics:
    return neuron_statistics(model, corpus, "mlp.hook_post", 0, threshold=0.5, ngrams=(1, 2), batch=7)


@pytest.fixture(scope="module")
def table(model: HookedModel, statistics: NeuronStatistics) -> pd.DataFrame:
    return statistics.table(model).set_index("unit")


def test_frequencies_are_counts_of_the_tokens(table: pd.DataFrame, corpus: Corpus) -> None:
    assert table.loc[TOKEN, "frequency"] == pytest.approx((corpus.tokens == KNOWN).float().mean().item())
    assert table.loc[FIRST, "frequency"] == pytest.approx(EARLY / CONTEXT)
    assert table.loc[ALWAYS, "frequency"] == 1
    assert table.loc[FIRST, "low"] == pytest.approx(table.loc[FIRST, "high"])  # every window alike
    assert table.loc[TOKEN, "low"] < table.loc[TOKEN, "frequency"] < table.loc[TOKEN, "high"]


def test_the_dead_neurons_are_named(table: pd.DataFrame) -> None:
    assert table.index[table["dead"]].tolist() == [DEAD, 5, 6, 7]


def test_the_token_and_the_bigram_neuron_are_named_with_what_they_fire_at(table: pd.DataFrame) -> None:
    assert table.index[table["detects_1"]].tolist() == [TOKEN, BIGRAM]
    assert table.loc[TOKEN, ["ngram_1", "covering_1", "share_1", "rate_1"]].tolist() == [str(KNOWN), 1, 1, 1]
    assert table.loc[BIGRAM, ["ngram_1", "covering_1"]].tolist() == [str(PAIR[1]), 1]
    assert table.loc[BIGRAM, "rate_1"] < 0.9  # not wherever its second token is
    assert table.index[table["detects_2"]].tolist() == [BIGRAM]
    assert table.loc[BIGRAM, ["ngram_2", "share_2", "rate_2"]].tolist() == ["7 8", 1, 1]


def test_the_positional_neuron_is_named(table: pd.DataFrame) -> None:
    knows = table["position_information"] > 10 * table["position_null"].clip(lower=1e-4)
    assert table.index[knows].tolist() == [FIRST]
    # Firing is decided by position: the information is the whole entropy of firing.
    whole = entropy([EARLY / CONTEXT, 1 - EARLY / CONTEXT], base=2)
    assert table.loc[FIRST, "position_information"] == pytest.approx(whole, abs=0.02)


def test_units_that_fire_at_random_know_nothing_of_positions(model: HookedModel, corpus: Corpus) -> None:
    generator = torch.Generator().manual_seed(0)
    frequencies = torch.tensor([0.001, 0.02, 0.3, 0.9]).repeat_interleave(100)
    by_position = (torch.rand(60, CONTEXT, 400, generator=generator) < frequencies).float().mean(0)
    made = NeuronStatistics(corpus, [], 0.0, "above", {}, {"random": by_position}, {})
    information, null = made.position_information("random")
    for group in np.split(np.arange(400), 4):
        assert abs(information[group].mean()) < 0.3 * null[group].mean() + 1e-6
    assert 0.01 < (information > null).mean() < 0.12


def test_the_token_neuron_suppresses_its_own_token(model: HookedModel, statistics: NeuronStatistics) -> None:
    effects = token_effects(model, statistics).set_index("unit")
    assert effects.index[effects["suppresses"]].tolist() == [TOKEN]
    assert not effects["promotes"].any()
    assert effects.loc[TOKEN, "token"] == KNOWN and effects.loc[TOKEN, "percentile"] == 0
    assert effects.loc[DEAD, "token"] == -1 and np.isnan(effects.loc[DEAD, "effect"])


def test_an_effect_is_what_the_logit_does_when_the_unit_is_raised() -> None:
    model = wb.load("zoo:lstm", check=False)
    tokens = torch.randint(3, 2000, (4, 24), generator=torch.Generator().manual_seed(0))
    for hook in ("mlp.hook_post", "mixer.hook_head_out"):
        found = neuron_statistics(model, token_corpus(tokens), hook, 3, fires="beyond")
        effects = token_effects(model, found)
        # With the final norm's scale held, the stream moves by the unit's row; the norm's weight and W_U do the rest.
        block = model.layout.blocks[3].block
        write = block.mlp.down_proj if "mlp" in hook else block.mixer.o_proj
        logits = (write.weight.T * model.layout.final_norm.weight) @ model.layout.embed.weight.T
        unit = 17
        own = logits[unit]
        expected = (own[effects.loc[unit, "token"]] - own.mean()) / own.std()
        assert effects.loc[unit, "effect"] == pytest.approx(float(expected), rel=1e-3)


def test_both_signs_and_channels_of_mixers_count(corpus: Corpus) -> None:
    model = wb.load("zoo:mamba", check=False)
    found = neuron_statistics(model, corpus, "mixer.hook_head_out", [0, 2], threshold=0.1, fires="beyond")
    _, cache = model.run_with_cache(corpus.tokens, names_filter="blocks.2.mixer.hook_head_out")
    values = cache["blocks.2.mixer.hook_head_out"].flatten(2)
    expected = (values.abs() > 0.1).double().mean((0, 1))
    rows = found.table(model)
    torch.testing.assert_close(
        torch.tensor(rows[rows["layer"] == 2]["frequency"].to_numpy()), expected, atol=1e-3, rtol=0
    )
    above = neuron_statistics(model, corpus, "mixer.hook_head_out", 2, threshold=0.1).table(model)["frequency"]
    assert above.mean() < expected.mean()


def test_columns_that_are_no_text_are_not_counted(model: HookedModel, corpus: Corpus) -> None:
    found = neuron_statistics(model, token_corpus(corpus.tokens, first=1), "mlp.hook_post", 0, threshold=0.5)
    assert found.table(model).loc[FIRST, "frequency"] == pytest.approx((EARLY - 1) / (CONTEXT - 1))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ngrams": (0,)}, "length from 1 to 32"),
        ({"ngrams": (1, 1)}, "each given once"),
        ({"fires": "below"}, "'above', 'beyond'"),
        ({"most_bytes": 100}, "take fewer layers"),
        ({"batch": 0}, "at least one window"),
        ({"layers": [0, 0]}, "given twice"),
    ],
)
def test_options_that_make_no_sense_are_refused(model: HookedModel, corpus: Corpus, options, says) -> None:
    with pytest.raises(InputError, match=says):
        neuron_statistics(model, corpus, **options)


def test_what_cannot_be_counted_is_refused(model: HookedModel, corpus: Corpus, statistics: NeuronStatistics) -> None:
    with pytest.raises(InputError, match="cover is 2"):
        statistics.table(model, cover=2)
    with pytest.raises(InputError, match="No output matrix reads"):
        token_effects(model, neuron_statistics(model, corpus, "resid_post", 0))
    with pytest.raises(InputError, match="no 1-grams"):
        token_effects(model, neuron_statistics(model, corpus, layers=0, ngrams=(2,)))
    with pytest.raises(InputError, match=r"are blocks.0.mixer.hook_z"):
        neuron_statistics(wb.load("zoo:lstm", check=False), corpus, "state", 0)
