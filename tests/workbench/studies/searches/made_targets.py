"""Targets without a model, and effects that are a function of sets: what searches are held to."""

from collections.abc import Callable, Sequence

from workbench.studies.edits.site import Target
from workbench.studies.searches.search import SearchKind


def heads(layers: int, each: int, size: int = 1) -> list[Target]:
    """Heads of made-up layers."""
    return [Target(f"L{n}H{head}", f"L{n}H{head}", n, size=size) for n in range(layers) for head in range(each)]


def labels(sets: Sequence[Sequence[Target]]) -> list[frozenset[str]]:
    return [frozenset(target.label for target in one) for one in sets]


def play(
    search: SearchKind,
    targets: Sequence[Target],
    effect: Callable[[frozenset[str]], float],
    scores: dict[str, float] | None = None,
) -> tuple[list[list[frozenset[str]]], list[frozenset[str]]]:
    """Every round that a search asks for, answered by a function; and what it ends with."""
    known: dict[frozenset[str], float] = {}
    rounds = []
    while proposed := search.propose(targets, known, scores or {}, 0):
        asked = labels(proposed)
        assert len(set(asked)) == len(asked) and not known.keys() & set(asked)  # nothing twice
        rounds.append(asked)
        known |= {one: effect(one) for one in asked}
        assert len(rounds) < 1000
    return rounds, labels(search.found(targets, known, scores or {}, 0))
