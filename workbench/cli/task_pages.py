"""Tasks and their scores for people: marked sequences, tables of what is scored, blocks of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.cli.output import records
from workbench.figures.tokens import visible_token
from workbench.tasks.base import NOT_SCORED, Task

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from workbench.report import Block

MEASURE_COLUMNS = ("positions", "measure", "mean", "95 % interval", "sequences")
_MOST_ROWS = 16
_SCORED, _SOURCE = "bold black on green", "bold black on yellow"


def legend() -> Text:
    """What the marks of `marked` mean."""
    from rich.text import Text

    return Text.assemble(
        ("scored here: the next prediction counts", _SCORED), "  ", ("source: where an answer stands", _SOURCE)
    )


def marked(task: Task, tokenizer: Any, row: int) -> Text:
    """One sequence without its padding; the positions whose predictions are scored, and the sources, in colour."""
    from rich.text import Text

    counts = task.labels[row] != NOT_SCORED
    scored = set(task.positions[row][counts].tolist())
    sources = {place for place in task.sources[row][counts].tolist() if place >= 0}
    shown = Text()
    for place, token in enumerate(task.tokens[row].tolist()):
        if task.mask is not None and not int(task.mask[row, place]):
            continue
        style = _SCORED if place in scored else _SOURCE if place in sources else ""
        shown.append(_written(tokenizer, token), style)
    return shown


def scored_rows(task: Task, tokenizer: Any, row: int) -> list[dict[str, Any]]:
    """What is scored in one sequence: position, the token read there, the answer, label, source and wrong answers."""

    def text(token: int) -> str:
        return _written(tokenizer, token).strip(" ") if tokenizer is None else visible_token(_written(tokenizer, token))

    found = []
    for slot in range(task.positions.shape[1]):
        label = int(task.labels[row, slot])
        if label == NOT_SCORED:
            continue
        position = int(task.positions[row, slot])
        wrong = [] if task.distractors is None else [int(token) for token in task.distractors[row, slot] if token >= 0]
        found.append(
            {
                "position": position,
                "reads": text(int(task.tokens[row, position])),
                "answer": text(int(task.answers[row, slot])),
                "label": task.label_names[label],
                "source": int(task.sources[row, slot]),
                "wrong": [text(token) for token in wrong],
            }
        )
    return found


def scored_table(rows: list[dict[str, Any]]) -> Table:
    """`scored_rows` as a table, its first rows where there are many."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(caption=f"{_MOST_ROWS} of {len(rows)} scored positions" if len(rows) > _MOST_ROWS else None)
    for column in ("position", "reads", "answer", "label", "source", "wrong"):
        shown.add_column(column, justify="right" if column in ("position", "source") else "left")
    for row in rows[:_MOST_ROWS]:
        shown.add_row(
            str(row["position"]),
            Text(row["reads"]),
            Text(row["answer"]),
            Text(row["label"]),
            str(row["source"]) if row["source"] >= 0 else "",
            Text(" ".join(row["wrong"])),
        )
    return shown


def measure_rows(found: pd.DataFrame) -> list[list[str]]:
    """What `evaluate` returned as text: positions, measure, mean, interval, sequences."""
    return [
        [
            row["label"],
            row["measure"].replace("_", " "),
            f"{row['mean']:.3f}",
            f"{row['low']:.3f}–{row['high']:.3f}" if row["n"] > 1 else "",
            str(row["n"]),
        ]
        for row in records(found)
    ]


def evaluation_blocks(found: pd.DataFrame) -> list[Block]:
    """Bars with intervals, a panel a measure, and the table."""
    from workbench.figures import ablation_bars
    from workbench.figures.bars import Bar
    from workbench.report import Plot, Table

    bars = [
        Bar(
            panel=row["measure"].replace("_", " "),
            group=row["label"],
            condition="model",
            value=row["mean"],
            low=row["low"] if row["n"] > 1 else None,
            high=row["high"] if row["n"] > 1 else None,
        )
        for row in records(found)
    ]
    return [
        Plot(ablation_bars(bars), "Means over sequences; whiskers are 95 % bootstrap intervals.", "wide"),
        Table(MEASURE_COLUMNS, measure_rows(found), "Loss and divergence are in nats.", frozenset({2, 3, 4})),
    ]


def _written(tokenizer: Any, token: int) -> str:
    return f"{token} " if tokenizer is None else str(tokenizer.decode([token]))
