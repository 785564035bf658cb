"""Examples of a feature as one piece of inert HTML: a class for each strength, so that hundreds of tokens are cheap."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.app.views.features.facts import of_largest, short
from workbench.figures.tokens import visible_text
from workbench.saes.features import Example

STEPS = 10
"""Strengths that are told apart by colour."""

_ALPHA = 0.6  # text on the strongest stays at 4.5:1 on a light and on a dark page


def style() -> str:
    """The classes, as CSS; the colours are those of positive values everywhere."""
    steps = "".join(f".wb-q{n}{{background:rgba(213,94,0,{_ALPHA * n / STEPS:.2f})}}" for n in range(1, STEPS + 1))
    return steps + (
        ".wb-example{border-bottom:1px solid rgba(128,128,128,.25);padding:.3em 0;line-height:1.75;font-size:.92rem;"
        "white-space:pre-wrap;overflow-wrap:anywhere}"
        ".wb-where{font-size:.78rem;opacity:.75;margin-right:.7em;font-variant-numeric:tabular-nums;"
        "white-space:nowrap;font-weight:600}"
        ".wb-row{font-size:.75rem;opacity:.7;margin-left:.7em;white-space:nowrap}"
        ".wb-token{unicode-bidi:isolate;border-radius:2px}"
        ".wb-peak{box-shadow:inset 0 -3px 0 #D55E00;font-weight:600}"
        ".wb-cut{opacity:.6}"
        ".wb-effect{display:grid;grid-template-columns:minmax(0,1.2fr) minmax(0,1fr) 3.6em;gap:.35em;"
        "font-size:.86rem;padding:.06em 0;margin-bottom:1px}"
        ".wb-room{position:relative}"
        ".wb-bar{position:absolute;left:0;top:.1em;bottom:.1em;border-radius:3px}"
        ".wb-up .wb-bar{background:rgba(213,94,0,.6)}.wb-down .wb-bar{background:rgba(0,114,178,.6)}"
        ".wb-effect .wb-token{overflow-wrap:anywhere}"
        ".wb-value{font-variant-numeric:tabular-nums;text-align:right}"
    )


@dataclass(frozen=True)
class Band:
    """A group of examples: which, and what to call it."""

    names: tuple[str, ...]
    title: str
    sentence: str


def bands_of(known: Sequence[str]) -> list[Band]:
    """The groups in which examples are shown: strongest, high, middle and low ranks, at random.

    Args:
        known: bands of a store, in its order: top, quarters from high to low, random, silent.
    """
    ranks = [name for name in known if name.endswith("%")]
    found = [Band(("top",), "Strongest", "The texts in which it is highest.")]
    for place, name in enumerate(ranks):
        title = "Above the median" if place < len(ranks) / 2 else "Below the median"
        title = "High" if place == 0 else "Low" if place == len(ranks) - 1 else title
        said = name.replace("-", " to ").replace("%", " %")
        found.append(Band((name,), title, f"Drawn from ranks {said} of the texts in which it fires; 100 % is highest."))
    return [*found, Band(("random",), "Random", "Drawn from all texts in which it fires.")]


def examples_html(examples: Sequence[Example], most: float) -> str:
    """Examples with their tokens coloured, as HTML in which nothing of the text means anything.

    Args:
        most: the activation that is fully coloured.
    """
    return "".join(_example(one, most) for one in examples)


def _said(value: float, most: float) -> str:
    """An activation in full: what a pointer at it shows."""
    return f"{of_largest(value, most)} of its largest activation ({short(value)})"


def _example(one: Example, most: float) -> str:
    pieces = []
    plain: list[str] = []
    for place, (token, value) in enumerate(zip(one.tokens, one.activations, strict=True)):
        text = html.escape(visible_text(token))
        if value <= 0 and place != one.peak:
            plain.append(text)  # neighbours without colour share one piece of text
            continue
        pieces.append("".join(plain))
        plain = []
        # At least one step, so that what fires is never white.
        step = max(1, min(STEPS, round(STEPS * float(value) / most))) if most > 0 and value > 0 else 0
        kind = "wb-token" + (f" wb-q{step}" if step else "") + (" wb-peak" if place == one.peak else "")
        pieces.append(f'<span class="{kind}" title="{_said(value, most)}">{text}</span>')
    pieces.append("".join(plain))
    before = '<span class="wb-cut">…</span>' if one.start else ""
    where = f'<span class="wb-where" title="{_said(one.value, most)}">{of_largest(one.value, most)}</span>'
    row = f'<span class="wb-row">text {one.row}, token {one.position}</span>'
    return f'<div class="wb-example">{where}{before}{"".join(pieces)}{row}</div>'
