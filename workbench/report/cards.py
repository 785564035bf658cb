"""What a result looks like at the end of a notebook cell: a small piece of static, self-contained HTML.

No script and no address outside; without its styles (repository viewers strip them) it is still a heading, a list of
facts and a table. Colours are those of the page around it, light or dark. Every text is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.figures.tokens import visible_text

MOST_ROWS = 24
"""Rows of a table that are shown; what is left out is counted."""

MOST_CHARACTERS = 300
"""Of one text: a title, a fact or a cell."""

_CELL = "padding:1px 10px 1px 0;border:0;background:none;vertical-align:top"


@dataclass(frozen=True)
class CardTable:
    """A table of a `Card`; columns of numbers are named in `numeric` and set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    numeric: frozenset[int] = field(default=frozenset())


@dataclass(frozen=True)
class Card:
    """A result at a glance.

    Attributes:
        title: what it is, in a few words.
        facts: name and value of what a reader wants to know first.
        table: rows behind it; the first `MOST_ROWS` are shown.
        note: a sentence below: how to read it, or what to call next.
    """

    title: str
    facts: Mapping[str, object] = field(default_factory=dict)
    table: CardTable | None = None
    note: str = ""


def render_card(card: Card) -> str:
    """A card as HTML, below 100 kB whatever its texts are; floats are shown with three significant digits."""
    parts = [f"<div><strong>{_escaped(card.title)}</strong></div>"]
    if card.facts:
        rows = "".join(
            f'<tr><th scope="row" style="{_CELL};text-align:left;font-weight:normal;opacity:0.7">{_escaped(name)}</th>'
            f'<td style="{_CELL};text-align:left">{_escaped(value)}</td></tr>'
            for name, value in list(card.facts.items())[:MOST_ROWS]
        )
        parts.append(f'<table style="margin:2px 0;border-collapse:collapse">{rows}</table>')
    if card.table is not None:
        parts.append(_table(card.table))
    if card.note:
        parts.append(f'<div style="opacity:0.7">{_escaped(card.note)}</div>')
    frame = "border-left:3px solid #0072B2;padding:2px 0 2px 10px;margin:4px 0"
    # A dollar sign in a token begins no formula.
    return f'<div class="tex2jax_ignore mathjax_ignore" style="{frame}">{"".join(parts)}</div>'


def _table(table: CardTable) -> str:
    aligned = ["right" if place in table.numeric else "left" for place in range(len(table.columns))]
    head = "".join(
        f'<th scope="col" style="{_CELL};text-align:{side}">{_escaped(name)}</th>'
        for name, side in zip(table.columns, aligned, strict=True)
    )
    shown = table.rows[:MOST_ROWS]
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_CELL};text-align:{side}">{_escaped(value)}</td>'
            for value, side in zip(row, aligned, strict=True)
        )
        + "</tr>"
        for row in shown
    )
    more = len(table.rows) - len(shown)
    left_out = f'<div style="opacity:0.7">and {more:,} more</div>' if more else ""
    return (
        '<table style="margin:4px 0;border-collapse:collapse">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{left_out}"
    )


def _escaped(value: object) -> str:
    """Text that a browser shows and does not obey, with what cannot be seen spelled out."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 1] + "…"
    return html.escape(visible_text(text))
