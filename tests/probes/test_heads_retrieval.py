"""Retrieval scores against the published algorithm, run step by step on the stock model."""

import copy

import pytest
import torch
from transformers import GPT2LMHeadModel

from tests.probes.hand_built import TOKENS, induction_gpt2
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads
from workbench.probes.heads.retrieval import hidden_needle
from workbench.probes.heads.segments import hidden_segment

LENGTHS, DEPTHS, SEEDS = (24, 30), (0.2, 0.9), (0, 1)


def shaken() -> GPT2LMHeadModel:
    """An induction circuit with so much noise that it copies most tokens, and other heads look at some of them."""
    stock = induction_gpt2()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in stock.parameters():
            parameter += 0.009 * parameter.abs().max() * torch.randn(parameter.shape, generator=generator)
    stock.set_attn_implementation("eager")
    return stock


@torch.no_grad()
def published(stock: GPT2LMHeadModel) -> torch.Tensor:
    """Wu et al. 2024, section 2: ``|tokens a head copied from the needle| / |needle|``, a mean over all texts."""
    scores = []
    for length in LENGTHS:
        for depth in DEPTHS:
            for seed in SEEDS:
                task = hidden_segment(TOKENS, length, depth=depth, batch=1, seed=seed, bos=0)
                needle = task.sources[0].tolist()
                text = task.tokens[0, : int(task.positions[0, 0]) + 1].tolist()
                copied: dict[tuple[int, int], set[int]] = {
                    (layer, head): set() for layer in range(2) for head in range(4)
                }
                for _ in needle:
                    out = stock(torch.tensor([text]), output_attentions=True)
                    written = int(out.logits[0, -1].argmax())
                    for layer, head in copied:
                        looked = int(out.attentions[layer][0, head, -1].argmax())
                        if looked in needle and text[looked] == written:
                            copied[layer, head].add(looked)
                    text.append(written)
                scores.append([len(found) / len(needle) for found in copied.values()])
    return torch.tensor(scores).mean(0)


@pytest.mark.filterwarnings("ignore:.*wrote only")
def test_scores_are_those_of_the_published_algorithm() -> None:
    stock = shaken()
    model = HookedModel(copy.deepcopy(stock))
    table = find_heads(model, "retrieval", lengths=LENGTHS, depths=DEPTHS, seeds=SEEDS, bos=0)
    expected = published(stock)
    assert 0.2 < float(expected.max()) < 1 and (expected > 0).sum() > 1
    ours = table.sort_values(["layer", "head"]).score.to_numpy()
    torch.testing.assert_close(torch.tensor(ours).float(), expected, rtol=0, atol=1e-6)
    assert table.attrs["recall"] >= table.score.max()
    assert ((table.low <= table.score) & (table.score <= table.high)).all()


def test_a_model_that_writes_nothing_of_the_needle_is_said_to() -> None:
    stock = induction_gpt2()
    stock.lm_head.weight.data = stock.lm_head.weight.data.roll(1, 0)
    with pytest.warns(UserWarning, match="wrote only [0-9]+% of the needles"):
        table = find_heads(HookedModel(stock), "retrieval", lengths=24, depths=(0.5,), seeds=(0,), bos=0)
    assert table.score.max() <= table.attrs["recall"] < 0.5


def test_without_its_retrieval_head_a_model_cannot_say_what_the_needle_was() -> None:
    model = HookedModel(induction_gpt2())
    table = find_heads(model, "retrieval", lengths=24, depths=(0.5,), seeds=(0,), bos=0)
    result = ablate_top_k(model, table, 1, draws=3, batch=4, length=24, bos=0).set_index("condition")
    assert result.loc["baseline", "accuracy_answer"] == 1
    assert result.loc["top", "accuracy_answer"] < 0.3
    assert result.loc["random", "accuracy_answer_low"] == 1
    assert result.loc["top", "p_loss_answer"] == pytest.approx(1 / 4)


def test_a_hidden_segment_is_answered_by_what_stood_before() -> None:
    task = hidden_segment(50, 40, depth=None, needle=7, cue=2, batch=6, seed=3, bos=9)
    rows = torch.arange(6)[:, None]
    assert torch.equal(task.tokens[rows, task.sources], task.answers)
    assert torch.equal(task.tokens[rows, task.positions + 1], task.answers)
    assert task.answers.shape == (6, 5) and task.tokens.shape == (6, 40) and (task.tokens[:, 0] == 9).all()
    assert len(set(task.sources[:, 0].tolist())) > 1
    for tokens, run in zip(task.tokens.tolist(), task.tokens[:, -7:].tolist(), strict=True):
        assert all(tokens.count(token) == 2 for token in run)
    start = hidden_segment(50, 40, depth=0.0, batch=1, seed=3)
    assert start.tokens[0, :8].tolist() == start.tokens[0, -8:].tolist()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"haystack": "straw"}, "there is: needle, passkey, segment"),
        ({"haystack": "needle"}, "made of text"),
        ({"lengths": 10}, "need 16 without any filler"),
        ({"lengths": 20, "depths": (2.0,)}, "from 0 to 1"),
        ({"depths": ()}, "is empty"),
        ({"scope": "head"}, "there is: core, mixer"),
        ({"lengths": 60}, "60"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_heads(HookedModel(induction_gpt2()), "retrieval", **options)


def test_a_model_without_a_tokenizer_gets_random_tokens() -> None:
    assert hidden_needle(HookedModel(induction_gpt2()), 24, batch=2).name == "hidden_segment"
