"""One round of one model, listed: its edits, their units, and the chunks of those that are not measured yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from workbench.studies.edits.edit import BASELINE, Edit
from workbench.studies.planning.chunks import compose
from workbench.studies.planning.survey import Survey
from workbench.studies.planning.units import UnitNames
from workbench.studies.schema.study import EditsEntry, Study
from workbench.studies.store.journal import Unit
from workbench.studies.store.records import PlannedChunk


@dataclass(frozen=True)
class Listing:
    """A round of a model.

    Attributes:
        edits: of the round; one that belongs to two entries is listed twice, its units once.
        units: those that no earlier round has.
        chunks: of the units that lack a metric, in order.
    """

    model: str
    number: int
    edits: tuple[Edit, ...]
    units: tuple[Unit, ...]
    chunks: tuple[PlannedChunk, ...]


def list_round(
    study: Study,
    model: str,
    number: int,
    edits: Sequence[Edit],
    survey: Survey,
    names: UnitNames,
    *,
    batch_tokens: int,
    planned: Collection[str] = (),
    measured: Mapping[str, Collection[str]] | None = None,
) -> Listing:
    """List a round; in round 0 the baseline comes first, and the corrupt prompts where something is taken from them.

    Args:
        planned: ids of units of earlier rounds.
        measured: by unit, the metrics that are stored already, of an earlier plan.
    """
    if number == 0:
        corrupt = any(entry.method.reads_corrupt for entry in study.edits if entry.name in survey.targets)
        edits = [Edit(model=model, family=BASELINE), *([Edit.corrupt(model)] if corrupt else []), *edits]
    metrics = tuple(metric.name for metric in study.metrics)
    stored = measured or {}
    named: list[tuple[str, str, str]] = []
    missing: dict[str, dict[str, tuple[str, ...]]] = {prompt.prompt_id: {} for prompt in survey.prompts}
    for edit in {edit.edit_id: edit for edit in edits}.values():
        for prompt in missing:
            unit = names.unit_id(edit, prompt)
            if unit in planned:
                continue
            named.append((unit, edit.edit_id, prompt))
            has = stored.get(unit, ())
            lacking = tuple(metric for metric in metrics if metric not in has) if has else metrics
            if lacking:
                missing[prompt][edit.edit_id] = lacking
    chunks = compose(model, number, edits, survey.prompts, missing, batch_tokens, survey.costs)
    where = {
        (edit, prompt): chunk.chunk_id for chunk in chunks for edit in chunk.edit_ids for prompt in chunk.prompt_ids
    }
    units = tuple(Unit(unit, model, edit, prompt, where.get((edit, prompt))) for unit, edit, prompt in named)
    return Listing(model, number, tuple(edits), units, tuple(chunks))


def first_rounds(
    study: Study, surveys: Mapping[str, Survey], *, measured: Mapping[str, Collection[str]] | None = None
) -> list[Listing]:
    """Round 0 of every model: all there is, where no entry searches."""
    listings = []
    for label, survey in surveys.items():
        edits = [
            edit
            for entry in study.edits
            if entry.name in survey.targets
            for edit in ask(study, label, entry, survey, {}, 0)
        ]
        listings.append(
            list_round(
                study,
                label,
                0,
                edits,
                survey,
                UnitNames(survey),
                batch_tokens=study.run.batch_tokens,
                measured=measured,
            )
        )
    return listings


def ask(
    study: Study,
    model: str,
    entry: EditsEntry,
    survey: Survey,
    effects: Mapping[frozenset[str], float],
    number: int,
) -> list[Edit]:
    """The edits of an entry's round, given the effects of the rounds before; none at its end."""
    from workbench.studies.searches.rounds import next_edits

    return next_edits(
        study,
        model,
        entry,
        survey.targets[entry.name],
        effects,
        survey.scores.get(entry.name, {}),
        number,
        survey.pools.get(entry.name),
    )
