"""n-gram heads: places that differ from sequence to sequence, and a null that knows how much context was read."""

import functools

import pytest
import torch

from tests.probes.hand_built import TOKENS, induction_gpt2
from tests.probes.hand_built_heads import trigram_gpt2
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads
from workbench.probes.heads import DefiningPairs, get_kind
from workbench.probes.heads.ngram import NGram, same_context


@functools.cache
def trigram() -> HookedModel:
    return HookedModel(trigram_gpt2())


@functools.cache
def induction() -> HookedModel:
    return HookedModel(induction_gpt2())


def found(model: HookedModel, kind: str, block: int) -> set[str]:
    table = find_heads(model, kind, block=block, bos=0, batch=4, seeds=0)
    return set(table[(table.score > 0.5) & (table.excess > 0.5)].site)


def test_a_head_of_order_three_is_told_from_one_of_order_two() -> None:
    assert found(trigram(), "3-gram", 30) == {"L1H2"}
    assert "L1H1" in found(trigram(), "2-gram", 30)
    assert found(trigram(), "4-gram", 30) == set()


def test_an_induction_head_is_a_two_gram_head_and_none_of_order_three() -> None:
    assert found(induction(), "2-gram", 15) == {"L1H2"}
    assert found(induction(), "3-gram", 15) == set()


def test_a_perfect_head_of_its_order_reads_little_else() -> None:
    best = find_heads(trigram(), "3-gram", block=30, bos=0, batch=2, seeds=1).iloc[0]
    assert best.score > 0.9  # what follows the first two tokens has no whole context to be known by
    assert best.null < 0.05 and best.p == pytest.approx(1 / 21)


def by_hand(tokens: list[int], order: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Places behind the same ``order - 1`` tokens, and behind the same ``order - 2`` but not one more."""
    exact, nearly = set(), set()
    for t in range(len(tokens)):
        for s in range(1, t):
            same = 0
            while same < order and s - 1 - same >= 0 and tokens[t - same] == tokens[s - 1 - same]:
                same += 1
            if same >= order - 1:
                exact.add((t, s))
            elif same == order - 2 and s >= max(1, order - 2):
                nearly.add((t, s))
    both = {t for t, _ in exact} & {t for t, _ in nearly}
    return {p for p in exact if p[0] in both}, {p for p in nearly if p[0] in both}


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("bos", [None, 0])
def test_the_defining_places_are_those_that_a_search_finds(order: int, bos: int | None) -> None:
    defined = NGram(order)
    task = defined.text(50, 20, batch=3, seed=4, bos=bos)
    pairs = defined.pairs(task)
    rivals = defined.rivals(task, pairs, 5)
    first = 0 if bos is None else 1
    for row in range(3):
        exact, nearly = by_hand(task.tokens[row, first:].tolist(), order)
        kept = pairs.weights[row] > 0
        places = {
            (t - first, s - first)
            for t, s in zip(pairs.query[row][kept].tolist(), pairs.key[row][kept].tolist(), strict=True)
        }
        assert places == exact and len(exact) == int(kept.sum())
        for rival in rivals:
            chosen = zip(rival.query[row][kept].tolist(), rival.key[row][kept].tolist(), strict=True)
            assert {(t - first, s - first) for t, s in chosen} <= nearly


def test_contexts_of_length_zero_are_all_earlier_positions_but_the_first() -> None:
    same = same_context(torch.zeros(1, 4, dtype=torch.long), 0)[0]
    assert same.nonzero().tolist() == [[2, 1], [3, 1], [3, 2]]


def test_the_text_repeats_its_contexts_and_says_where() -> None:
    task = NGram(3).text(100, 30, batch=4, seed=1, bos=7)
    assert task.tokens.shape == (4, 61) and (task.tokens[:, 0] == 7).all()
    assert (task.tokens[:, 1:] != 7).all()
    for row in range(4):
        tokens = task.tokens[row].tolist()
        for position, answer, label in zip(
            task.positions[row].tolist(), task.answers[row].tolist(), task.labels[row].tolist(), strict=True
        ):
            context = tokens[position - 1 : position + 1]
            before = [tokens[s - 2 : s] for s in range(3, position)]
            assert answer == tokens[position + 1]
            assert label == int(position >= 2 and context in before)
    other = NGram(3).text(100, 30, batch=4, seed=2, bos=7)
    assert not torch.equal(task.tokens, other.tokens)


@pytest.mark.filterwarnings("ignore:Only")
def test_without_its_two_gram_head_the_model_loses_what_the_context_tells() -> None:
    table = find_heads(induction(), "2-gram", block=15, bos=0, seeds=0)
    result = ablate_top_k(induction(), table, 1, block=15, bos=0, draws=3).set_index("condition")
    assert "p_loss_seen" in result.columns
    assert result.loc["top", "accuracy_seen"] < result.loc["random", "accuracy_seen"] - 0.1


def test_several_sources_of_a_destination_are_added_and_weighed() -> None:
    # Uniform attention: a share is 1 / (t + 1) at every source.
    model = HookedModel(trigram_gpt2())
    for block in model.wrapped.transformer.h:
        block.attn.c_attn.weight.data.zero_()
    attention = model.implicit_attention(torch.randint(TOKENS, (2, 10)), layer=0, scope="mixer")
    from workbench.probes.heads.reading import averages
    from workbench.probes.heads.shares import Shares

    ragged = DefiningPairs(
        torch.tensor([[4, 4, 9], [3, 0, 0]]),
        torch.tensor([[0, 1, 2], [3, 0, 0]]),
        torch.tensor([[1.0, 1, 0.5], [2, 0, 0]]),
    )
    score = averages(Shares(attention, 4, "mass"), [ragged])[0]
    expected = torch.tensor([(1 / 5 + 1 / 5 + 0.5 / 10) / 2, 2 / 4]).double()
    torch.testing.assert_close(score, expected[:, None].expand(-1, 4), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("1-gram", {}, "no 1-gram heads"),
        ("3-grams", {}, "No kind of head is called '3-grams'"),
        ("3-gram", {"block": 5}, "needs block >= 6"),
        ("2-gram", {"block": 70}, "23 symbols cannot be drawn from 20"),
    ],
)
def test_what_no_text_can_be_made_for_gets_a_sentence(kind: str, options: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_heads(trigram(), kind, **options)


def test_any_order_can_be_asked_for() -> None:
    assert get_kind("7-gram").does == "read what followed earlier occurrences of the last 6 tokens"
