"""A model's rounds: list the next one, run it, look at what it found, until every search of it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from workbench.studies.coordinator.dispatching import Dispatcher
from workbench.studies.coordinator.preparing import Prepared, metric_versions
from workbench.studies.coordinator.searching import effects_of
from workbench.studies.edits.edit import Edit
from workbench.studies.planning.listing import Listing, ask, list_round
from workbench.studies.planning.units import UnitNames
from workbench.studies.store.journal import Journal


def run_model(
    journal: Journal,
    prepared: Prepared,
    model: str,
    dispatcher: Dispatcher,
    announce: Callable[[str, float], None],
) -> None:
    """Run what is left of a model's rounds, from wherever the journal is."""
    survey = prepared.surveys[model]
    names = UnitNames(survey)
    prompts = {prompt.prompt_id: prompt for prompt in survey.prompts}
    number: int = journal.meta(f"rounds/{model}") or 0
    while True:
        edits = journal.edits(model)
        chunks = journal.pending(model)
        if chunks:
            announce(f"{model}, round {number}" if number > 1 else model, sum(chunk.macs for chunk in chunks))
            dispatcher.run(chunks, {edit.edit_id: edit for edit in edits}, prompts, names)
        listing = _next(journal, prepared, model, number, edits, names)
        if listing is None:
            return
        journal.add_round(model, number, listing.edits, listing.units, listing.chunks)
        number += 1


def _next(
    journal: Journal, prepared: Prepared, model: str, number: int, edits: Sequence[Edit], names: UnitNames
) -> Listing | None:
    """The next round of a model; None where all its entries have ended."""
    if number == 0 and model in prepared.first:
        return prepared.first[model]
    study, survey = prepared.study, prepared.surveys[model]
    known = {_key(edit) for edit in edits}
    proposed: list[Edit] = []
    for entry in study.edits:
        if entry.name not in survey.targets:
            continue
        effects: Mapping[frozenset[str], float] = {}
        if number:
            effects = effects_of(journal, study, model, entry, edits, survey.prompts)
        proposed += [edit for edit in ask(study, model, entry, survey, effects, number) if _key(edit) not in known]
    if number and not proposed:
        return None
    return list_round(
        study,
        model,
        number,
        proposed,
        survey,
        names,
        batch_tokens=prepared.batch_tokens,
        planned=journal.planned_units(model) if number else (),
        measured=journal.measured(metric_versions(study)),
    )


def _key(edit: Edit) -> tuple[str, str, str, float | None]:
    """What tells edits apart that may do the same thing."""
    return edit.family, edit.control_of or "", edit.label, edit.dose
