"""Rounds of a search as edits: sets of targets, times doses; random controls after the last round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workbench.studies.edits.edit import Edit
from workbench.studies.edits.method import MethodKind
from workbench.studies.edits.site import Target
from workbench.studies.schema.study import EditsEntry, Study
from workbench.studies.searches.asking import AskingSearch, labels_of
from workbench.studies.searches.controls import controls_of
from workbench.studies.searches.search import Sets


def next_edits(
    study: Study,
    model_label: str,
    entry: EditsEntry,
    targets: Sequence[Target],
    effects: Mapping[frozenset[str], float],
    scores: Mapping[str, float],
    round: int,
    pool: Sequence[Target] | None = None,
) -> list[Edit]:
    """The edits of a round, from 0 on; none where the search has ended and its controls are drawn.

    It depends on nothing but its arguments, and asks again for the rounds before: a resumed study gets the same edits.

    Args:
        model_label: the model's name in the study.
        targets: of the entry's sites in the model.
        effects: by labels, of every set of the rounds before; NaN, or nothing, where it could not be measured. Of
            several doses the first decides.
        scores: by label, where the search asks for a score.
        pool: what controls are drawn from (`SiteKind.pool`); the targets by default.
    """
    played = _rounds(study, entry, targets, effects, scores, round + 1)
    if round < len(played):
        return [edit for one in played[round] for edit in _edits(study, model_label, entry, one, round)]
    if round > len(played) or entry.controls is None:
        return []
    found = entry.search.found(targets, effects, scores, study.seed)
    drawn = controls_of(found, pool or targets, entry.controls, study.seed)
    return [
        edit
        for of, control in drawn
        for edit in _edits(study, model_label, entry, control, round, control_of=_label(of))
    ]


def _rounds(
    study: Study,
    entry: EditsEntry,
    targets: Sequence[Target],
    effects: Mapping[frozenset[str], float],
    scores: Mapping[str, float],
    most: int,
) -> list[Sets]:
    """What the search proposed round by round, knowing only what it knew then; at most so many rounds."""
    if isinstance(entry.search, AskingSearch):
        return entry.search.rounds(targets, effects, scores, study.seed, most)
    known: dict[frozenset[str], float] = {}
    played: list[Sets] = []
    while len(played) < most and (proposed := entry.search.propose(targets, known, scores, study.seed)):
        played.append(proposed)
        known.update((labels_of(one), effects.get(labels_of(one), math.nan)) for one in proposed)
    return played


def _edits(
    study: Study,
    model_label: str,
    entry: EditsEntry,
    targets: tuple[Target, ...],
    round: int,
    control_of: str | None = None,
) -> list[Edit]:
    """One edit for each dose of the entry's method."""
    site = entry.sites.binder().canonical()
    doses: Sequence[tuple[float | None, MethodKind]] = entry.method.doses() or [(None, entry.method)]
    where = tuple(entry.positions) if isinstance(entry.positions, list) else entry.positions
    return [
        Edit(
            model=model_label,
            family=entry.name,
            targets=targets,
            site=site,
            method=method.canonical(),
            dose=dose,
            positions=where,
            control_of=control_of,
            round=round,
            seed=study.seed if method.random else 0,
        )
        for dose, method in doses
    ]


def _label(targets: tuple[Target, ...]) -> str:
    return " + ".join(target.label for target in targets)
