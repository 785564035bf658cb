"""Random controls: sets of as many other targets of the same sort, in the same layers and of the same sizes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import comb, prod
from typing import TypeAlias

from workbench.errors import InputError
from workbench.sites import Site
from workbench.studies.edits.site import Target
from workbench.studies.identity import digest
from workbench.studies.schema.study import Controls
from workbench.studies.searches.search import Sets

Stratum: TypeAlias = tuple[object, ...]


def controls_of(
    found: Sets, pool: Sequence[Target], controls: Controls, seed: int
) -> list[tuple[tuple[Target, ...], tuple[Target, ...]]]:
    """Controls of every set, as ``(set, control)``; no control twice for a set, and none that shares a target with it.

    Where there are no more of them than are asked for, all there are.
    """
    drawn = []
    for one in found:
        choices = _choices(one, pool, controls)
        if choices is not None:
            drawn += [(one, control) for control in _drawn(choices, controls.draws, seed, one)]
    return drawn


def count_controls(one: tuple[Target, ...], pool: Sequence[Target], controls: Controls) -> int:
    """How many different controls a set has."""
    choices = _choices(one, pool, controls)
    return 0 if choices is None else prod(comb(len(others), count) for others, count in choices)


def parts_of(one: tuple[Target, ...], pool: Sequence[Target]) -> tuple[Target, ...]:
    """The targets of the pool that a set is made of; a target that stands for several places is taken apart."""
    by_label = {target.label: target for target in pool}
    labels = [label for target in one for place in _places(target) for label in _singly(place, by_label)]
    return tuple(by_label[label] for label in labels if label in by_label)


def _choices(
    one: tuple[Target, ...], pool: Sequence[Target], controls: Controls
) -> list[tuple[list[Target], int]] | None:
    """For every stratum of a set: what else is in it, and how many of those a control takes; None without a control."""
    parts = parts_of(one, pool)
    if sum(part.size for part in parts) != sum(target.size for target in one):
        return None  # some of it is nothing that the pool is made of: a hook by its name
    taken = {part.label for part in parts}
    wanted = Counter(_stratum(part, controls) for part in parts)
    others: dict[Stratum, list[Target]] = {stratum: [] for stratum in wanted}
    for target in pool:
        stratum = _stratum(target, controls)
        if stratum in others and target.label not in taken:
            others[stratum].append(target)
    found = [(others[stratum], count) for stratum, count in wanted.items()]
    return found if found and all(len(there) >= count for there, count in found) else None


def _places(target: Target) -> list[str]:
    """What a target stands for: the places that a named set lists, or itself."""
    return list(target.more.get("sites", [target.label]))


def _singly(place: str, known: Mapping[str, Target]) -> list[str]:
    """A range of heads, head by head, where the pool has no such range."""
    if place in known:
        return [place]
    try:
        site = Site.parse(place)
    except InputError:
        return [place]
    heads = range(site.start, site.stop)
    return [str(Site.heads(site.layer, head, mixer=site.mixer or 0)) for head in heads] or [str(site)]


def shortages(
    targets: Sequence[Target], pool: Sequence[Target], controls: Controls, found: Sets | None = None
) -> list[str]:
    """Sentences about sets that have fewer controls than are asked for; at most three, and how many more there are.

    Args:
        found: what the search ended with, where that is known; each target by itself before.
    """
    told = []
    for one in [(target,) for target in targets] if found is None else found:
        count = count_controls(one, pool, controls)
        if count < controls.draws:
            what = "no matched control" if count == 0 else f"{count} matched control{'s' if count > 1 else ''}"
            least = "so it gets no p" if count == 0 else f"so p cannot be below 1/{count + 1}"
            label = " + ".join(target.label for target in one)
            told.append(f"{label} has {what}, and {controls.draws} are asked for: {least}.")
    return [*told[:3], *([f"{len(told) - 3} more sets have too few controls, too."] if len(told) > 3 else [])]


def _stratum(target: Target, controls: Controls) -> Stratum:
    return (_sort(target), *(getattr(target, what) for what in controls.match))


def _sort(target: Target) -> str:
    """What sort of thing a target is: a head is never a control of an MLP, whatever else is matched."""
    try:
        site = Site.parse(target.at)
    except InputError:
        return target.at.split(".", 2)[-1] if target.at.startswith("blocks.") else target.at
    return f"{site.part} {site.mixer}"


def _drawn(
    choices: list[tuple[list[Target], int]], draws: int, seed: int, one: tuple[Target, ...]
) -> list[tuple[Target, ...]]:
    if prod(comb(len(others), count) for others, count in choices) <= draws:
        every = product(*(combinations(others, count) for others, count in choices))
        return [tuple(target for group in groups for target in group) for groups in every]
    generator = random.Random(digest([seed, [target.label for target in one]]))
    found: dict[frozenset[str], tuple[Target, ...]] = {}
    while len(found) < draws:
        control = tuple(target for others, count in choices for target in _sample(generator, others, count))
        found.setdefault(frozenset(target.label for target in control), control)
    return list(found.values())


def _sample(generator: random.Random, others: list[Target], count: int) -> list[Target]:
    """A sample without replacement, in the order of the list."""
    return [others[number] for number in sorted(generator.sample(range(len(others)), count))]
