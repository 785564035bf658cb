"""Prompts and answers as tasks: places of tokens, padding, wrong answers, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests import real_inputs
from tests.workbench.text_task_cases import WORD_TASKS, answers, piece, read
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.tasks import (
    NOT_SCORED,
    PassageWriter,
    TextTask,
    make_task,
    prompt_task,
    score_model,
    text_task,
)
from workbench.tasks.offsets import leading_special, tokenise


@pytest.fixture(scope="module")
def zoo() -> HookedModel:
    return wb.load("zoo:attention", check=False)


@pytest.fixture(scope="module")
def smollm2_tokenizer(smollm2_directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_directory, gguf_file=real_inputs.FILE_NAME)


class SlowTokenizer:
    """A tokenizer that cannot say which characters a token stands for: one token a run of three characters."""

    is_fast = False
    all_special_ids = (0,)
    bos_token_id = 0
    pad_token_id = None
    eos_token_id = 0

    def __init__(self, *, puts_bos: bool = False, upper: bool = False) -> None:
        self._texts = ["<s>"]
        self._puts_bos = puts_bos
        self._upper = upper

    def __len__(self) -> int:
        return 10_000

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
        for each in pieces:
            if each not in self._texts:
                self._texts.append(each)
        front = [0] if self._puts_bos and add_special_tokens else []
        return front + [self._texts.index(each) for each in pieces]

    def decode(self, ids: list[int], **_: Any) -> str:
        text = "".join(self._texts[i] for i in ids)
        return text.upper() if self._upper else text


def check_every_slot(task: TextTask, tokenizer: Any) -> None:
    """What holds for every task of words."""
    assert task.text is not None
    for row in range(task.batch):
        assert read(task, tokenizer, row) == task.text[row]
        counted = task.labels[row] != NOT_SCORED
        assert bool(counted.any())
        positions, wanted = task.positions[row][counted], task.answers[row][counted]
        assert torch.equal(task.tokens[row][positions + 1], wanted)
        sources = task.sources[row][counted]
        known = sources >= 0
        assert bool((sources[known] <= positions[known]).all())
        assert torch.equal(task.tokens[row][sources[known]], wanted[known])
        if task.distractors is not None:
            assert not bool((task.distractors[row][counted] == wanted[:, None]).any())
            assert bool((task.distractors[row][~counted] == -1).all())


@pytest.mark.parametrize("name", WORD_TASKS)
def test_scored_tokens_follow_their_positions_and_stand_at_their_sources(zoo: HookedModel, name: str) -> None:
    task = make_task(name, zoo, batch=6, seed=3)
    check_every_slot(task, zoo.tokenizer)
    assert torch.equal(task.tokens, make_task(name, zoo, batch=6, seed=3).tokens)
    assert task.text != make_task(name, zoo, batch=6, seed=4).text


@pytest.mark.slow
@pytest.mark.parametrize("name", WORD_TASKS)
def test_the_same_holds_for_the_tokens_of_a_real_model(smollm2_tokenizer: Any, name: str) -> None:
    check_every_slot(make_task(name, smollm2_tokenizer, batch=6, seed=3), smollm2_tokenizer)


@pytest.mark.parametrize("member", ["zoo:attention", "zoo:mamba2"])
def test_padding_changes_no_score(member: str) -> None:
    model = wb.load(member, check=False)
    task = make_task("knowledge_conflict", model, batch=6, seed=1, gap=25)
    assert task.mask is not None and int((task.mask == 0).sum()) > 0
    together = score_model(model, task)
    for row in range(task.batch):
        pad = int((task.mask[row] == 0).sum())
        logits = model(task.tokens[row : row + 1, pad:])
        counted = task.labels[row] != NOT_SCORED
        at, wanted = task.positions[row][counted] - pad, task.answers[row][counted]
        alone = -logits[0, at].log_softmax(-1).gather(-1, wanted[:, None])[:, 0]
        torch.testing.assert_close(together.loss[row][counted], alone, atol=2e-4, rtol=0)


def test_a_prompt_and_its_answer_give_the_loss_of_the_answers_tokens(zoo: HookedModel) -> None:
    task = prompt_task(zoo, ["The king of", "He went to the"], [" France", " house of the lords"], name="mine")
    scores = score_model(zoo, task)
    for row, (prompt, answer) in enumerate((("The king of", " France"), ("He went to the", " house of the lords"))):
        before, after = zoo.tokenizer.encode(prompt), zoo.tokenizer.encode(answer)
        logits = zoo(torch.tensor([before + after]))[0].log_softmax(-1)
        expected = [-logits[len(before) - 1 + k, token] for k, token in enumerate(after)]
        found = scores.loss[row][task.labels[row] != NOT_SCORED]
        torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert task.name == "mine"
    assert piece(task, zoo.tokenizer, "prompt", 1) == "He went to the"


def test_a_wrong_answer_counts_where_it_first_differs(zoo: HookedModel) -> None:
    right, wrong = " house of the lords", " house of the king"
    tokens, others = (zoo.tokenizer.encode(text) for text in (right, wrong))
    differ = next(k for k, (a, b) in enumerate(zip(tokens, others, strict=False)) if a != b)
    assert differ > 0
    task = prompt_task(zoo, ["He went to the", "He went to the"], [right, " river"], wrong=[[wrong, right], []])
    assert task.distractors is not None
    expected = torch.full((2, len(tokens), 1), -1)
    expected[0, differ, 0] = others[differ]
    assert torch.equal(task.distractors, expected)
    scores = score_model(zoo, task)
    table = scores.table().set_index("measure")
    logits = zoo(task.tokens[:1]).detach()[0, task.positions[0, differ]]
    # Only one slot of one sequence is compared with anything; the others must not count as ties.
    assert table.loc["logit_difference", "n"] == 1
    assert table.loc["logit_difference", "mean"] == pytest.approx(
        float(logits[tokens[differ]] - logits[others[differ]]), abs=1e-3
    )
    with pytest.raises(InputError, match="no wrong answer to compare with"):
        scores.per_sequence("preference")


def test_a_wrong_answer_that_only_goes_on_has_no_place_of_its_own(zoo: HookedModel) -> None:
    assert prompt_task(zoo, ["He went to the"], [" house"], wrong=[[" house of the king"]]).distractors is None


def test_a_token_of_space_alone_is_scored_only_where_it_decides(zoo: HookedModel) -> None:
    lone, joined = zoo.tokenizer.encode(" 7"), zoo.tokenizer.encode(" 1")
    assert [zoo.tokenizer.decode([token]) for token in lone] == [" ", "7"] and len(joined) == 1
    plain = prompt_task(zoo, ["It is"], [" 7"])
    assert plain.answers.tolist() == [lone[1:]]
    assert prompt_task(zoo, ["It is"], [" 7"], wrong=[[" 8"]]).answers.tolist() == [lone[1:]]
    against = prompt_task(zoo, ["It is"], [" 7"], wrong=[[" 1"]])
    assert against.answers.tolist() == [lone] and against.distractors is not None
    assert against.distractors.tolist() == [[[joined[0]], [-1]]]
    assert prompt_task(zoo, ["It is"], [" "]).answers.tolist() == [lone[:1]]


def test_sources_are_token_by_token_and_counted_from_the_end(zoo: HookedModel) -> None:
    writer = PassageWriter()
    source = writer.word("Parliament")  # At a line's start: no space before it, so that it is cut otherwise.
    writer.add(" sat. We saw")
    writer.answer(" Parliament", source=source)
    task = text_task("mine", zoo, [writer.passage()])
    cut = tokenise(zoo.tokenizer, "Parliament sat. We saw Parliament")
    ends = {stop: place for place, stop in enumerate(cut.stops)}
    for position, at in zip(task.positions[0].tolist(), task.sources[0].tolist(), strict=True):
        left = len("Parliament sat. We saw Parliament") - cut.stops[position + 1]
        assert at == ends.get(len("Parliament") - left, at)
        assert cut.starts[at] < len("Parliament") - left <= cut.stops[at]


def test_pieces_are_where_their_words_are_and_batches_can_be_cut(zoo: HookedModel) -> None:
    task = make_task("two_hop", zoo, batch=6, seed=0)
    part = task.sequences(slice(2, 5))
    assert isinstance(part, TextTask) and part.batch == 3
    for row in range(3):
        for name in ("bridge", "subject"):
            assert piece(part, zoo.tokenizer, name, row) == piece(task, zoo.tokenizer, name, row + 2)
    conflict = make_task("passkey", zoo, batch=2, length=100)
    assert piece(conflict, zoo.tokenizer, "question", 0) == "What is the pass key? The pass key is"


def test_a_tokenizer_without_offsets_is_read_by_prefixes() -> None:
    tokenizer = SlowTokenizer(puts_bos=True)
    assert leading_special(tokenizer) == [0]
    cut = tokenise(tokenizer, "abcdefgh")
    assert (cut.starts, cut.stops) == ([0, 3, 6], [3, 6, 8])
    assert [list(cut.within(a, b)) for a, b in ((0, 1), (2, 4), (3, 6), (7, 8), (4, 4))] == [[0], [0, 1], [1], [2], []]
    task = prompt_task(tokenizer, ["abc", "abcdef"], ["ghi", "ghijkl"])
    assert task.tokens[0, -1] == tokenizer.encode("ghi", False)[0]
    assert task.tokens[1, 0] == 0 and task.mask is not None and task.mask.sum(1).tolist() == [3, 5]
    assert [run.answer for run in answers(task, tokenizer, 1)] == ["ghijkl"]
    assert prompt_task(tokenizer, ["abc"], ["ghi"], bos=False).time == 2
    with pytest.raises(InputError, match="changes the text"):
        tokenise(SlowTokenizer(upper=True), "abc")


def test_what_cannot_be_a_task_gets_a_sentence(zoo: HookedModel) -> None:
    with pytest.raises(InputError, match="made of text; give it a model with a tokenizer"):
        prompt_task(100, ["a"], [" b"])
    with pytest.raises(InputError, match="2 prompts, 1 answers"):
        prompt_task(zoo, ["a", "b"], [" c"])
    with pytest.raises(InputError, match="joins the answer 'de'"):
        prompt_task(SlowTokenizer(), ["ab"], ["de"])
    with pytest.raises(InputError, match="nothing before it"):
        prompt_task(zoo, [""], ["The"])
    with pytest.raises(InputError, match="no passage"):
        text_task("mine", zoo, [])
    writer = PassageWriter()
    place = writer.add("The king")
    with pytest.raises(InputError, match="no answer: 'The king'"):
        text_task("mine", zoo, [writer.passage()])
    with pytest.raises(ValueError, match="'The king' does not hold ' queen'"):
        writer.answer(" queen", source=place)
