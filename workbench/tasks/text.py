"""From prompts and answers as strings to a `Task`: tokens, scored positions and sources found through characters.

A generator writes a passage with a `PassageWriter`, which remembers where every piece stands. `text_task` cuts all
passages into tokens, pads them on the left and turns characters into positions. An answer may be several tokens long:
each of them is a scored position that reads the true tokens before it (teacher forcing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.base import NOT_SCORED, Task
from workbench.tasks.offsets import TokenisedText, leading_special, tokenise
from workbench.tasks.passages import Answer, Passage, PassageWriter
from workbench.tasks.vocabulary import Vocabulary

# Text around an answer that decides how a wrong answer in its place is cut into tokens: words, not pages.
_CONTEXT = 40


@dataclass(frozen=True, kw_only=True, repr=False)
class TextTask(Task):
    """A task made of words.

    Attributes:
        pieces: positions of the named pieces of each sequence, from the first token to the one after the last; -1 twice
            where a sequence has no such piece.
    """

    pieces: dict[str, Int[Tensor, "batch 2"]] = field(default_factory=dict)


class _Slot(NamedTuple):
    """One scored position, counted in the tokens of its own text."""

    position: int
    answer: int
    source: int
    label: int
    wrong: list[int]
    answer_number: int


def text_task(
    name: str,
    vocabulary: Any,
    passages: Sequence[Passage],
    *,
    labels: Sequence[str] | None = None,
    bos: bool | int | None = None,
) -> TextTask:
    """Cut passages into tokens and find their answers, sources and pieces in them.

    `Task.distractors` holds, at the first token in which a wrong answer differs from the right one, the wrong token;
    -1 elsewhere. Sources are token by token: where an answer of three tokens is a copy, each points at its own.

    A token of an answer that is nothing but space is not scored, unless a wrong answer first differs there.

    Args:
        name: name of the task.
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        passages: one a sequence; shorter ones are padded on the left.
        labels: names of the kinds of position, in order; by default as they first appear.
        bos: token in front: an id, True for the tokenizer's own, False for none; None leaves it to the tokenizer.

    Raises:
        InputError: no tokenizer, no passage, a passage without an answer or with one at its very start, an answer that
            the tokenizer joins with its neighbours, or a passage longer than the model's context.
    """
    known = Vocabulary.of(vocabulary)
    known.encode("")  # Says what is missing where there is no tokenizer.
    if not passages:
        raise InputError(f"Task {name!r} has no passage: at least one is needed.")
    front = _front(known, bos)
    names = tuple(labels or dict.fromkeys(answer.label for passage in passages for answer in passage.answers))
    cut = [tokenise(known.tokenizer, passage.text) for passage in passages]
    slots = [_slots(known, passage, tokens, names, len(front)) for passage, tokens in zip(passages, cut, strict=True)]
    rows = [front + tokens.ids for tokens in cut]
    width = max(map(len, rows))
    known.check_length(width, name)
    shift = [width - len(row) for row in rows]
    tokens = torch.full((len(rows), width), _padding(known.tokenizer), dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, shift[number] :] = torch.tensor(row)
        mask[number, shift[number] :] = 1
    scored = max(map(len, slots))
    wrong = max(len(slot.wrong) for row_slots in slots for slot in row_slots)
    empty = _Slot(0, 0, -1, NOT_SCORED, [], -1)
    filled = [
        [
            *(s._replace(position=s.position + by, source=s.source + by if s.source >= 0 else -1) for s in row_slots),
            *([empty] * (scored - len(row_slots))),
        ]
        for row_slots, by in zip(slots, shift, strict=True)
    ]

    def column(what: str) -> Tensor:
        return torch.tensor([[getattr(slot, what) for slot in row_slots] for row_slots in filled]).to(known.device)

    distractors = [[slot.wrong + [-1] * (wrong - len(slot.wrong)) for slot in row_slots] for row_slots in filled]
    return TextTask(
        name=name,
        tokens=tokens.to(known.device),
        positions=column("position"),
        answers=column("answer"),
        sources=column("source"),
        labels=column("label"),
        label_names=names,
        mask=None if all(by == 0 for by in shift) else mask.to(known.device),
        distractors=torch.tensor(distractors).to(known.device) if wrong else None,
        text=tuple(passage.text for passage in passages),
        answer_numbers=column("answer_number"),
        pieces=_pieces(passages, cut, [len(front) + by for by in shift], known.device),
    )


def prompt_task(
    vocabulary: Any,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    wrong: Sequence[Sequence[str]] | None = None,
    name: str = "prompts",
    bos: bool | int | None = None,
) -> TextTask:
    """A task of your own: each prompt and how it should go on.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        prompts: what is read.
        answers: what should follow, with the space that stands before it: `` Paris``.
        wrong: of each prompt, what should not follow, written alike.
        name: name of the task.
        bos: as in `text_task`.

    Raises:
        InputError: numbers of prompts and answers that differ, and what `text_task` refuses.
    """
    others: Sequence[Sequence[str]] = [()] * len(prompts) if wrong is None else wrong
    if not len(prompts) == len(answers) == len(others):
        counts = f"{len(prompts)} prompts, {len(answers)} answers and {len(others)} rows of wrong answers"
        raise InputError(f"There are {counts}; as many are needed of each.")
    passages = []
    for prompt, answer, other in zip(prompts, answers, others, strict=True):
        writer = PassageWriter()
        writer.add(prompt, "prompt")
        writer.answer(answer, wrong=other)
        passages.append(writer.passage())
    return text_task(name, vocabulary, passages, bos=bos)


def _front(known: Vocabulary, bos: bool | int | None) -> list[int]:
    if bos is None:
        return leading_special(known.tokenizer)
    first = known.bos(bos)
    return [] if first is None else [first]


def _padding(tokenizer: Any) -> int:
    found = [getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id")]
    return next((int(token) for token in found if token is not None), 0)


def _slots(
    known: Vocabulary, passage: Passage, tokens: TokenisedText, names: tuple[str, ...], offset: int
) -> list[_Slot]:
    """The scored positions of one passage; `offset` tokens stand in front of its own."""
    slots = []
    for number, answer in enumerate(passage.answers):
        inside = tokens.within(*answer.place)
        text = passage.text[answer.place.start : answer.place.stop]
        if not inside or tokens.starts[inside[0]] < answer.place.start or tokens.stops[inside[-1]] > answer.place.stop:
            raise InputError(f"The tokenizer joins the answer {text!r} with the text beside it, so it has no place.")
        if inside[0] + offset == 0:
            raise InputError(f"The answer {text!r} has nothing before it that could predict it; put a token in front.")
        wrong = _wrong_tokens(known, passage.text, answer)
        blank = [not passage.text[tokens.starts[place] : tokens.stops[place]].strip() for place in inside]
        for place in inside:
            # A space of its own before a number says nothing, unless another answer would be written without it.
            if blank[place - inside[0]] and not all(blank) and place - inside[0] not in wrong:
                continue
            source = _source(tokens, answer, place)
            slots.append(
                _Slot(
                    position=place - 1 + offset,
                    answer=tokens.ids[place],
                    source=source + offset if source >= 0 else -1,
                    label=names.index(answer.label),
                    wrong=wrong.get(place - inside[0], []),
                    answer_number=number,
                )
            )
    if not slots:
        raise InputError(f"A passage has no answer: {passage.text[:60]!r}.")
    return slots


def _source(tokens: TokenisedText, answer: Answer, place: int) -> int:
    """The token at the source that holds what token `place` of the answer ends with, or -1.

    Counted from the end of both, because only one of them may have a space in front.
    """
    if answer.source is None:
        return -1
    last = answer.source.stop - (answer.place.stop - tokens.stops[place]) - 1
    if last < answer.source.start:
        return -1
    found = tokens.within(last, last + 1)
    return found[-1] if found else -1


def _wrong_tokens(known: Vocabulary, text: str, answer: Answer) -> dict[int, list[int]]:
    """Tokens of the wrong answers, by the token of the right answer from which they first differ."""
    before = text[max(0, answer.place.start - _CONTEXT) : answer.place.start]
    after = text[answer.place.stop : answer.place.stop + _CONTEXT]
    right = tokenise(known.tokenizer, before + text[answer.place.start : answer.place.stop] + after)
    inside = right.within(len(before), len(before) + answer.place.stop - answer.place.start)
    found: dict[int, list[int]] = {}
    for other in answer.wrong:
        ids = tokenise(known.tokenizer, before + other + after).ids
        differ = next((i for i, pair in enumerate(zip(right.ids, ids, strict=False)) if pair[0] != pair[1]), -1)
        if differ in inside and ids[differ] not in found.setdefault(differ - inside[0], []):
            found[differ - inside[0]].append(ids[differ])
    return found


def _pieces(
    passages: Sequence[Passage], cut: Sequence[TokenisedText], shift: Sequence[int], device: torch.device
) -> dict[str, Int[Tensor, "batch 2"]]:
    found = {}
    for name in dict.fromkeys(name for passage in passages for name in passage.pieces):
        rows = []
        for passage, tokens, by in zip(passages, cut, shift, strict=True):
            inside = tokens.within(*passage.pieces[name]) if name in passage.pieces else range(0)
            rows.append([inside[0] + by, inside[-1] + 1 + by] if inside else [-1, -1])
        found[name] = torch.tensor(rows).to(device)
    return found
