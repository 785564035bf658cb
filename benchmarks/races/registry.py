"""Every race there is."""

from __future__ import annotations

from benchmarks.race import Race
from benchmarks.races import (
    activations,
    cores,
    explorer,
    features,
    finders,
    gpu,
    hooked,
    lengths,
    lenses,
    mamba,
    processes,
    saes,
    scores,
    state_edits,
    streamed,
    studies,
    study_engines,
    study_listing,
)


def all_races() -> tuple[Race, ...]:
    """Every race, in the order in which they are measured."""
    return (
        *hooked.races(),
        *mamba.races(),
        *cores.races(),
        *state_edits.races(),
        *scores.races(),
        *finders.races(),
        *lenses.races(),
        *activations.races(),
        *lengths.races(),
        *streamed.races(),
        *processes.races(),
        *saes.races(),
        *features.races(),
        *studies.races(),
        *study_engines.races(),
        *study_listing.races(),
        *explorer.races(),
        *gpu.races(),
    )


def race_named(name: str) -> Race:
    """The race of that name. Raises KeyError with the name."""
    for race in all_races():
        if race.name == name:
            return race
    raise KeyError(name)
