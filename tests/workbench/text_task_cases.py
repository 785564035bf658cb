"""Tasks made of words, read back from their tokens: nothing here knows how they were written."""

from __future__ import annotations

from typing import Any, NamedTuple

from workbench.tasks import NOT_SCORED, TextTask

WORD_TASKS = (
    "calendar",
    "counting_characters",
    "garden_paths",
    "knowledge_conflict",
    "laundry_list",
    "list_recall",
    "modular_addition",
    "needle",
    "order_recall",
    "ordinals",
    "passkey",
    "quirky_answers",
    "repeated_noun_list",
    "repetition",
    "reversal",
    "two_hop",
)


class Run(NamedTuple):
    """Scored positions of one label that follow each other: an answer, read back."""

    label: str
    answer: str
    source: str | None
    first: int


def answers(task: TextTask, tokenizer: Any, row: int) -> list[Run]:
    """What is scored in one sequence, an answer at a time; decoded from the tokens behind the scored positions."""
    runs: list[tuple[str, list[int], list[int]]] = []
    for position, source, label in zip(
        task.positions[row].tolist(), task.sources[row].tolist(), task.labels[row].tolist(), strict=True
    ):
        if label == NOT_SCORED:
            continue
        name = task.label_names[label]
        if not (runs and runs[-1][0] == name and runs[-1][1][-1] + 1 == position):
            runs.append((name, [], []))
        runs[-1][1].append(position)
        runs[-1][2].append(source)
    tokens = task.tokens[row].tolist()
    return [
        Run(
            name,
            tokenizer.decode([tokens[position + 1] for position in positions]),
            tokenizer.decode([tokens[source] for source in sources]) if min(sources) >= 0 else None,
            positions[0],
        )
        for name, positions, sources in runs
    ]


def read(task: TextTask, tokenizer: Any, row: int, stop: int | None = None) -> str:
    """The text of a sequence's tokens, padding left out; up to and with token ``stop``, if one is given."""
    end = task.time if stop is None else stop + 1
    start = 0 if task.mask is None else int((task.mask[row] == 0).sum())
    return str(tokenizer.decode(task.tokens[row, start:end].tolist()))


def piece(task: TextTask, tokenizer: Any, name: str, row: int) -> str:
    """The words of a named piece, without the space before them."""
    start, stop = task.pieces[name][row].tolist()
    return str(tokenizer.decode(task.tokens[row, start:stop].tolist())).strip()
