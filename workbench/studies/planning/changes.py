"""What became of a study that was planned before: what another plan would add, keep and drop, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.studies.planning.listing import Listing
from workbench.studies.schema.study import Study
from workbench.studies.store.reader import JournalReader

UNHARMING = ("run", "statistics", "question")
"""Keys of a study that no measurement depends on."""


@dataclass(frozen=True)
class Changes:
    """How a plan differs from the one that is stored, in the rounds that can be listed beforehand.

    Attributes:
        added: units that the stored plan does not have.
        again: units that it has, but not with all metrics.
        kept: units that it has.
        dropped: units that only it has; their results stay in the journal and come back with them.
        reasons: what is different, a sentence each.
    """

    added: int
    again: int
    kept: int
    dropped: int
    reasons: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether the stored plan no longer serves."""
        return bool(self.reasons or self.added or self.again or self.dropped)

    def sentence(self) -> str:
        """All of it."""
        again = f"{self.again} measured again by new metrics, " if self.again else ""
        return (
            f"{self.added} units added, {again}{self.kept} kept, {self.dropped} dropped, "
            f"because of: {'; '.join(self.reasons) or 'the workbench itself'}"
        )


def identity_of(study: Study) -> dict[str, Any]:
    """The part of a study that its measurements depend on."""
    dumped: dict[str, Any] = study.model_dump(mode="json", exclude=set(UNHARMING))
    return dumped


def compare(
    journal: JournalReader, study: Study, listings: Sequence[Listing], digests: Mapping[str, str], inputs: str
) -> Changes:
    """Hold a new plan against the stored one.

    Args:
        listings: the first rounds of the new plan.
        digests: of its models' weights; inputs: of its files.
    """
    metrics = {metric.name for metric in study.metrics}
    before = Study.model_validate_json(journal.meta("study"))
    stored: set[str] = set()
    first: set[str] = set()
    for entry in before.models:
        stored |= journal.planned_units(entry.label)
        first |= journal.planned_units(entry.label, number=0)
    listed = {unit.unit_id for listing in listings for unit in listing.units}
    kept = len(listed & stored)
    had = {metric.name for metric in before.metrics}
    surveys = journal.surveys()
    reasons = list(_different(identity_of(before), identity_of(study)))
    reasons += [
        f"the weights of {label} are others"
        for label, found in digests.items()
        if label in surveys and surveys[label]["digest"] != found
    ]
    if journal.meta("inputs") != inputs:
        reasons.append("a file that the study reads has changed")
    return Changes(
        added=len(listed - stored),
        again=kept if metrics - had else 0,
        kept=kept,
        dropped=len(first - listed),
        reasons=tuple(reasons),
    )


def _different(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Sentences about what differs between two JSON values, by dotted path."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            inside = f"{path}.{key}" if path else key
            if key not in after:
                yield f"{inside} is gone"
            elif key not in before:
                yield f"{inside} is new"
            else:
                yield from _different(before[key], after[key], inside)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _different(one, other, f"{path}.{place}")
    elif isinstance(before, list) and isinstance(after, list):
        yield f"{path} has {len(after)} entries, not {len(before)}"
    else:
        yield f"{path} is {_short(after)}, not {_short(before)}"


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
