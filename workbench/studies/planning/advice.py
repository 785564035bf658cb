"""What a study cannot find out as it is planned, said before it is run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from workbench.studies.planning.later import most_edits
from workbench.studies.planning.listing import Listing
from workbench.studies.planning.survey import Survey
from workbench.studies.planning.units import sources
from workbench.studies.schema.study import EditsEntry, Study
from workbench.studies.searches.controls import shortages
from workbench.studies.statistics.resampling import EXPLORATORY


@dataclass(frozen=True)
class Family:
    """Hypotheses that are tested together.

    Attributes:
        model, entry, metric: what names them.
        m: how many there are in the first round, controls left aside.
        most: how many there may be in the end; None where the entry's search cannot say.
    """

    model: str
    entry: str
    metric: str
    m: int
    most: int | None


def families(study: Study, surveys: Mapping[str, Survey], listings: Sequence[Listing]) -> list[Family]:
    """Every family of the first round. Metrics that compare with the unedited run are not tested, and have none."""
    found = []
    tested = [metric.name for metric in study.metrics if not type(metric).reads_baseline]
    for listing in listings:
        counts = Counter(edit.family for edit in listing.edits if edit.control_of is None)
        targets = surveys[listing.model].targets
        for entry in study.edits:
            if entry.name in targets:
                most = most_edits(entry, len(targets[entry.name]))
                found += [Family(listing.model, entry.name, metric, counts[entry.name], most) for metric in tested]
    return found


def warnings(study: Study, surveys: Mapping[str, Survey], listings: Sequence[Listing]) -> list[str]:
    """Sentences, each naming what would help."""
    said = [
        *_tests(study, families(study, surveys, listings), surveys),
        *_groups(surveys),
        *(sentence for entry in study.edits for sentence in _controls(study, entry, surveys)),
        *(sentence for entry in study.edits for sentence in _overlaps(study, entry)),
    ]
    return list(dict.fromkeys(said))


def _tests(study: Study, listed: Sequence[Family], surveys: Mapping[str, Survey]) -> Iterator[str]:
    largest = max(listed, key=lambda family: family.m, default=None)
    if largest is None or largest.m == 0:
        return
    m, q = largest.m, study.statistics.q
    # The smallest p of R resamples is 1 / (R + 1); Benjamini and Hochberg's first threshold is q / m.
    if study.statistics.resamples < m / q:
        yield (
            f"{study.statistics.resamples} resamples cannot find one true effect among {m} ({largest.entry}): the "
            f"smallest p is above q/m; set statistics.resamples to {math.ceil(4 * m / q)}."
        )
    # Of n groups there are 2^n ways to flip signs, two of which are as extreme as can be.
    needed = math.ceil(math.log2(2 * m / q))
    for label, survey in surveys.items():
        groups = _confirming(survey)
        if groups < needed:
            yield (
                f"{label} is tested on {groups} groups of prompts; one true effect among {m} ({largest.entry}) needs "
                f"at least {needed}."
            )


def _groups(surveys: Mapping[str, Survey]) -> Iterator[str]:
    for label, survey in surveys.items():
        groups = _confirming(survey)
        if groups < EXPLORATORY:
            yield f"{label} is tested on {groups} groups of prompts; below {EXPLORATORY}, call it exploratory."


def _controls(study: Study, entry: EditsEntry, surveys: Mapping[str, Survey]) -> Iterator[str]:
    if entry.controls is None:
        return
    q = study.statistics.q
    if 1 / (entry.controls.draws + 1) > q:
        yield (
            f"{entry.name}: {entry.controls.draws} controls give no p below {1 / (entry.controls.draws + 1):.2g}; "
            f"draw at least {math.ceil(1 / q) - 1}."
        )
    for label, survey in surveys.items():
        targets = survey.targets.get(entry.name, ())
        # A named set is compared with others made of its pool, place by place; its layer says nothing of how many.
        sets = [target for target in targets if "sites" in target.more]
        for text in shortages(sets, survey.pools.get(entry.name, ()), entry.controls):
            yield f"{entry.name}, {label}: {text}"
        layers = Counter(target.layer for target in targets if "sites" not in target.more)
        if layers and "layer" in entry.controls.match and min(layers.values()) < 1 / q:
            layer, others = min(layers.items(), key=lambda item: item[1])
            yield (
                f"{entry.name}: a single target in layer {layer} of {label} has {others - 1} others to be compared "
                f"with, so p is at least 1/{others}; leave layer out of controls.match, or judge larger sets."
            )


def _overlaps(study: Study, entry: EditsEntry) -> Iterator[str]:
    split = study.inputs.split
    for source in sorted(set(sources(entry.method.canonical()))):
        if split is not None and not source.startswith("discover"):
            yield (
                f"{entry.name}: replacements come from {source!r}, which overlaps the prompts that confirm; "
                "take them from 'discover'."
            )
    if split is None and entry.search.word != "each":
        yield (
            f"{entry.name}: what the search {entry.search.word!r} finds is judged on the very prompts it was "
            "found with; give inputs.split."
        )


def _confirming(survey: Survey) -> int:
    return len({prompt.group or prompt.prompt_id for prompt in survey.prompts if prompt.split != "discover"})
