"""The mod-10 features of a model that was built with them, and where a head goes when they are edited."""

import functools

import pytest
import torch

from tests.families.case import build, hooked
from tests.families.cases import every_case
from tests.probes.hand_built_heads import NUMBERS, TENS, UNITS, counting_llama
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.heads.modular import ModularFeatures, edited_successors, modular_features
from workbench.probes.heads.successor import OrdinalTokens

COUNT = len(NUMBERS)
TOKENS = torch.tensor([*NUMBERS])
CLASS = OrdinalTokens("numbers", TOKENS, torch.tensor([*range(1, COUNT), -1]))


@functools.cache
def counting() -> tuple[HookedModel, ModularFeatures]:
    model = HookedModel(counting_llama())
    return model, modular_features(model, classes=[CLASS])


def test_the_features_are_the_directions_that_were_planted() -> None:
    _, features = counting()
    assert features.residues.tolist() == [number % UNITS for number in NUMBERS]
    size = features.stream[0, UNITS * TENS :][:UNITS].max()
    planted = torch.zeros(UNITS, features.stream.shape[1])
    # What the MLP writes for a unit, less the mean of all units.
    planted[:, UNITS * TENS : UNITS * TENS + UNITS] = size * (torch.eye(UNITS) - 1 / UNITS)
    torch.testing.assert_close(features.features, planted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features.fitted, features.stream, atol=1e-5, rtol=1e-4)
    assert features.explained == pytest.approx(1, abs=1e-6)
    # 10 directions of 53 tokens' freedom, once the 6 tens have theirs.
    assert 0.1 < features.by_chance < 0.25
    assert features.probe is not None and features.probe.score.mean == 1
    assert features.probe.control is not None and features.probe.control.mean < 0.4


def test_features_are_fitted_to_the_embedding_too_where_that_is_asked_for() -> None:
    model, features = counting()
    whole = modular_features(model, classes=[CLASS], embedding=True)
    embedded = model.layout.embed.weight[TOKENS]
    torch.testing.assert_close(whole.stream, features.stream + embedded)
    assert whole.explained < features.explained  # numbers share no part of their embeddings there


def test_an_edited_residue_moves_the_successor_of_the_head_that_was_built() -> None:
    model, features = counting()
    table = edited_successors(model, features).set_index("site")
    head = table.loc["L1H1"]
    # It knows no carry: 9, 19, ... 49 have the wrong successor, and 53 of 58 the right one.
    assert head["successor"] == pytest.approx(53 / 58)
    assert head["exact"] == pytest.approx(expected_exact())
    assert head["moved"] > 0.95 > 0.3 > head["control"]
    assert table.drop("L1H1")["moved"].max() < 0.5
    assert (table["moved"][table["layer"] == 0] < 0.2).all()  # they write nothing, so the first token stays first
    assert table.index[0] == "L1H1" and head["low"] <= head["moved"] <= head["high"]


def expected_exact() -> float:
    """Of every number and every other last digit, those where the head, which adds 1 without a carry, is right."""
    right = []
    for number in NUMBERS:
        for unit in range(UNITS):
            meant = number - number % UNITS + unit
            if unit != number % UNITS and meant in NUMBERS and meant + 1 in NUMBERS:
                right.append(unit != UNITS - 1)
    return sum(right) / len(right)


def test_no_edit_moves_nothing_and_the_stream_of_an_edit_is_another_tokens() -> None:
    model, features = counting()
    still = edited_successors(model, features, scale=0.0).set_index("site").loc["L1H1"]
    assert still["moved"] == still["exact"] == still["control"] == 0
    to = torch.full((COUNT,), 3)
    moved = features.edited(to)
    thirteen, seventeen = NUMBERS.index(13), NUMBERS.index(17)
    torch.testing.assert_close(moved[seventeen], features.stream[thirteen], atol=1e-5, rtol=1e-4)


def test_residues_of_another_modulus_explain_no_more_than_chance() -> None:
    model, _ = counting()
    seven = modular_features(model, 7, classes=[CLASS])
    assert seven.explained < 0.3 and seven.probe is not None and seven.probe.score.mean < 0.4


@pytest.mark.parametrize("name", ["lfm2", "zoo rwkv7", "mamba"])
@pytest.mark.filterwarnings("ignore:.*wrote only")
def test_every_family_has_features_and_edited_successors(name: str) -> None:
    case = next(case for known, case in every_case().items() if known.startswith(name))
    classes = [OrdinalTokens("line", torch.arange(1, 13), torch.tensor([*range(1, 12), -1]))]
    with hooked(build(case)) as model:
        features = modular_features(model, 5, classes=classes, draws=3)
        table = edited_successors(model, features)
        assert len(table) > 0 and table[["successor", "moved", "control", "exact"]].notna().all(axis=None)
        assert 0 < features.explained < 1


@pytest.mark.parametrize(
    ("modulus", "classes", "sentence"),
    [(1, [CLASS], "modulus is 1"), (10, [], "classes is empty"), (60, [CLASS], "No two of the 59 tokens")],
)
def test_what_makes_no_sense_gets_a_sentence(modulus: int, classes: list[OrdinalTokens], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        modular_features(counting()[0], modulus, classes=classes)
