"""Hand-built matrices: the tools name the tokens, heads and units that were put there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.weights import (
    all_composition_scores,
    composition_map,
    composition_table,
    matrix_tokens,
    singular_vectors,
    spectra,
    spectrum_plot,
    top_tokens,
    trigger_examples,
    value_agreement,
)
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

VOCABULARY, WIDTH, HEADS = 16, 16, 4


def built() -> HookedModel:
    """One-hot embeddings; layer 0 head 1 copies token 3 to 5, layer 1 head 2 keys on what head 1 of layer 0 writes."""
    torch.manual_seed(0)
    config = ZooConfig("attention", vocab_size=VOCABULARY, d_model=WIDTH, n_layers=2, d_mlp=8)
    model: Any = ZooModel(config)
    with torch.no_grad():
        model.embed.weight.copy_(torch.eye(VOCABULARY))
        for block in model.blocks:
            for parameter in block.mixer.parameters():
                parameter.mul_(0.01)
            block.mlp.down_proj.weight.mul_(0.01)
        first, second = (block.mixer for block in model.blocks)
        head = slice(4, 8)  # of head 1
        first.v_proj.weight[head] = 0
        first.o_proj.weight[:, head] = 0
        first.v_proj.weight[4, 3] = 2.0
        first.o_proj.weight[5, 4] = 3.0
        second.k_proj.weight[8, 5] = 4.0  # head 2's first key channel
        second.q_proj.weight[8, 9] = 4.0
        model.blocks[1].mlp.gate_proj.weight[6] = 8 * torch.eye(WIDTH)[11]
        model.blocks[1].mlp.up_proj.weight[6] = 8 * torch.eye(WIDTH)[11]
        model.blocks[1].mlp.down_proj.weight[:, 6] = torch.eye(WIDTH)[12]
    return HookedModel(model.eval())


def test_the_tokens_of_a_circuit_are_those_that_were_put_there() -> None:
    model = built()
    table = singular_vectors(model, 0, 1, "OV", count=1, k=2)
    best = table[table["rank"] == 0].set_index("side")
    assert best.loc["reads", "token"] == 3 and best.loc["writes", "token"] == 5
    norm, final = model.wrapped.blocks[0].norm1.weight[3], model.wrapped.norm.weight[5]  # type: ignore[union-attr, index]
    assert best.loc["writes", "singular_value"] == pytest.approx(6.0 * float(norm), rel=1e-4)
    assert best.loc["writes", "score"] == pytest.approx(float(final), rel=1e-4)
    queries = singular_vectors(model, 1, 2, "QK", count=1, k=1).set_index("side")
    assert queries.loc["query", "token"] == 9 and queries.loc["key", "token"] == 5


def test_composition_finds_the_pair_that_composes() -> None:
    model = built()
    table = composition_table(model, "K", top=3)
    assert list(table.loc[0, ["writer", "reader"]]) == ["L0H1", "L1H2"]
    assert table.loc[0, "score"] == pytest.approx(1.0, abs=1e-2)  # all that the one writes is what the other reads
    assert table.loc[0, "deviations"] > 5 and 0 < table.loc[0, "baseline"] < 0.5
    scores = all_composition_scores(model, "K")
    assert float(scores[0, 1, 1, 2]) == pytest.approx(table.loc[0, "score"], rel=1e-5)
    assert float(scores[1].abs().max()) == 0 and float(scores[:, :, 0].abs().max()) == 0
    figure = composition_map(scores)
    assert np.nanmax(figure.data[0].z) == pytest.approx(table.loc[0, "score"], rel=1e-4)


def test_the_baseline_is_what_random_matrices_compose_to() -> None:
    """For Gaussian factors the squared score is near inner sizes over width; here 4 of 16 twice, within a factor."""
    baseline = composition_table(built(), "V", draws=50).loc[0, "baseline"]
    assert 0.15 < baseline < 0.35  # 1 / sqrt(16) = 0.25 for directions that know nothing of each other


def test_units_are_read_in_the_vocabulary() -> None:
    model = built()
    assert matrix_tokens(model, "W_out", 1, [6], k=1)["token"].tolist() == [12]
    assert matrix_tokens(model, "W_gate", 1, [6], k=1)["token"].tolist() == [11]
    assert matrix_tokens(model, "W_V", 0, [0], head=1, k=1)["token"].tolist() == [3]
    assert matrix_tokens(model, "W_O", 0, [0], head=1, k=1)["token"].tolist() == [5]
    table = top_tokens(model, torch.eye(WIDTH)[[2, 4]], names=["two", "four"], k=3)
    assert table[table["rank"] == 0][["direction", "token"]].to_numpy().tolist() == [["two", 2], ["four", 4]]


def corpus() -> list[Tensor]:
    """Unit 6 answers to token 11 alone, which is followed by 12 in two places of three."""
    rows = torch.zeros(3, 6, dtype=torch.long)
    rows[:] = torch.tensor([1, 2, 3, 4, 1, 2])
    rows[0, 1:3] = torch.tensor([11, 12])
    rows[2, 3:5] = torch.tensor([11, 12])
    rows[1, 4:6] = torch.tensor([11, 7])
    return [rows[:2], rows[2:]]


def test_triggers_are_found_where_they_are_and_values_held_to_what_follows() -> None:
    table = trigger_examples(built(), 1, [6], corpus(), k=3)
    assert set(zip(table["sequence"], table["position"], strict=True)) == {(0, 1), (1, 4), (2, 3)}
    assert table["activation"].is_monotonic_decreasing and (table["value_token"] == 12).all()
    assert dict(zip(table["sequence"], table["agrees"], strict=True)) == {0: True, 1: False, 2: True}
    assert dict(zip(table["sequence"], table["next_token"], strict=True)) == {0: 12, 1: 7, 2: 12}
    summary = value_agreement(table)
    assert summary.loc[0, "agreement"] == pytest.approx(2 / 3) and summary.loc[0, "units"] == 1


def test_a_corpus_in_other_batches_has_the_same_triggers() -> None:
    model, rows = built(), torch.cat(corpus())
    whole = trigger_examples(model, 0, [0, 5], [rows], k=4)
    apart = trigger_examples(model, 0, [0, 5], [row[None] for row in rows], k=4)
    assert whole[["unit", "rank"]].equals(apart[["unit", "rank"]])
    np.testing.assert_allclose(whole["activation"], apart["activation"], rtol=1e-5)


def test_spectra_are_of_the_circuits() -> None:
    table = spectra(built(), "OV", fold_norm=False).set_index("site")
    assert table.loc["L0H1", "norm"] == pytest.approx(6.0, rel=1e-5)
    assert table.loc["L0H1", "participation"] == pytest.approx(1.0, rel=1e-5)
    assert table.loc["L1H0", "participation"] > 2
    assert len(spectrum_plot(table.reset_index(), ["L0H1"]).data) == 1


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda m: singular_vectors(m, 0, 9), "Head 9 is out of range"),
        (lambda m: singular_vectors(m, 0, 1, count=5), "1 to 4 singular vectors"),
        (lambda m: top_tokens(m, torch.randn(2, 5)), r"Directions are \[number, 16\]"),
        (lambda m: top_tokens(m, torch.randn(2, 16), k=99), "k is 99"),
        (lambda m: matrix_tokens(m, "W_X", 0), "no matrix 'W_X'"),
        (lambda m: matrix_tokens(m, "W_V", 0), "is a head's"),
        (lambda m: matrix_tokens(m, "W_out", 0, [8]), "has units 0 to 7"),
        (lambda m: trigger_examples(m, 0, [8], []), "go from 0 to 7"),
        (lambda m: trigger_examples(m, 0, [1], []), "corpus is empty"),
        (lambda m: composition_table(m, "Q", layers=[0]), "at least two"),
        (lambda m: value_agreement(spectra(m)), "no table of trigger_examples"),
        (lambda m: spectrum_plot(spectra(m), ["L9H0"]), "has no L9H0"),
    ],
)
def test_bad_input_is_one_sentence(ask: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ask(built())
