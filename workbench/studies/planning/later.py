"""What may follow the rounds that can be listed beforehand: a search's later rounds, and random controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from workbench.studies.planning.listing import Listing
from workbench.studies.planning.survey import Survey
from workbench.studies.schema.study import EditsEntry, Study


@dataclass(frozen=True)
class Later:
    """What one entry of edits adds to a plan's numbers once results are there.

    Attributes:
        model, entry: what names it.
        what: that follows: rounds of a search, controls, or both.
        edits: at most; None where the search cannot say.
        units: the same, times prompts.
    """

    model: str
    entry: str
    what: str
    edits: int | None
    units: int | None

    def sentence(self) -> str:
        """For people."""
        many = "how many is not known beforehand"
        if self.edits is not None and self.units is not None:
            many = f"at most {self.edits:,} more edits = {self.units:,} units"
        return f"not counted above: {self.model} / {self.entry}: {self.what}, {many}"


def most_edits(entry: EditsEntry, targets: int) -> int | None:
    """Edits of an entry at most, all rounds together and controls left aside; None where that is not known."""
    bound = entry.search.bound(targets)
    return None if bound is None else bound.sets * _doses(entry)


def later_rounds(study: Study, surveys: Mapping[str, Survey], listings: Sequence[Listing]) -> Iterator[Later]:
    """What is to come after the first rounds, for every model and entry of which there is more."""
    for listing in listings:
        survey = surveys[listing.model]
        for entry in study.edits:
            if entry.name not in survey.targets:
                continue
            first = sum(edit.family == entry.name for edit in listing.edits)
            searched, controls = _more(entry, len(survey.targets[entry.name]), first)
            if searched == controls == 0:
                continue
            edits = None if searched is None or controls is None else searched + controls
            rounds = f"the later rounds of its search ({entry.search.word}), which depend on results"
            what = [*[rounds] * (searched != 0), *["random controls"] * (controls != 0)]
            units = None if edits is None else edits * len(survey.prompts)
            yield Later(listing.model, entry.name, ", and ".join(what), edits, units)


def _more(entry: EditsEntry, targets: int, first: int) -> tuple[int | None, int | None]:
    """Edits beyond the first round, and those of controls, at most."""
    bound = entry.search.bound(targets)
    if bound is None:
        return None, None if entry.controls else 0
    draws = 0 if entry.controls is None else entry.controls.draws
    return max(0, bound.sets * _doses(entry) - first), bound.found * draws * _doses(entry)


def _doses(entry: EditsEntry) -> int:
    return max(1, len(entry.method.doses()))
