"""Sentences of a text beside the numbers that bear them, so that a reader sees which hold on another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from workbench.report.cards import Card, CardTable, render_card

MIME = "application/vnd.workbench.claims+json"
"""What `Claims` hands to a notebook beside its table: a list of ``{"sentence", "holds", "numbers"}``."""


@dataclass(frozen=True)
class Claim:
    """One sentence, whether it holds, and the numbers it is about."""

    sentence: str
    holds: bool
    numbers: Mapping[str, float] = field(default_factory=dict)


class Claims:
    """A list of claims, shown in a notebook as a table with a yes or no a row.

    A claim that does not hold raises nothing: on another model it is a finding.

    >>> claims = Claims()
    >>> claims.add("Layer 1 copies.", 0.94 > 0.5, score=0.94)
    >>> claims
    yes  Layer 1 copies. (score 0.94)
    """

    def __init__(self) -> None:
        self._claims: list[Claim] = []

    def add(self, sentence: str, holds: object, **numbers: float) -> None:
        """Add one sentence.

        Args:
            sentence: what is claimed, as a reader would say it.
            holds: whether it is so; anything with a truth value, as comparisons of tensors and arrays have.
            numbers: what it is read from; underscores in the names are shown as spaces.
        """
        plain = {name.replace("_", " "): float(number) for name, number in numbers.items()}
        self._claims.append(Claim(sentence, bool(holds), plain))

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        lines = []
        for claim in self:
            numbers = f" ({_numbers(claim)})" if claim.numbers else ""
            lines.append(f"{_answer(claim):4} {claim.sentence}{numbers}")
        return "\n".join(lines) or "no claims"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        rows = [(_answer(claim), claim.sentence, _numbers(claim)) for claim in self]
        table = CardTable(("holds", "claim", "numbers of this run"), rows)
        data = [{"sentence": claim.sentence, "holds": claim.holds, "numbers": dict(claim.numbers)} for claim in self]
        return {
            "text/plain": repr(self),
            "text/html": render_card(Card("What holds here", table=table)),
            MIME: data,
        }


def _answer(claim: Claim) -> str:
    return "yes" if claim.holds else "no"


def _numbers(claim: Claim) -> str:
    return ", ".join(f"{name} {_number(number)}" for name, number in claim.numbers.items())


def _number(number: float) -> str:
    """A count in full, anything else with three digits."""
    return f"{number:,.0f}" if number.is_integer() else f"{number:.3g}"
