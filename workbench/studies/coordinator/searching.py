"""What the rounds of a search have found, as the next round asks for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workbench.studies.edits.edit import BASELINE, Edit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.schema.study import EditsEntry, Study
from workbench.studies.store.journal import Journal


def effects_of(
    journal: Journal, study: Study, model: str, entry: EditsEntry, edits: Sequence[Edit], prompts: Sequence[Prompt]
) -> dict[frozenset[str], float]:
    """Mean effect of every set of an entry so far, by the labels of its targets.

    It is the mean over the prompts to discover with of edited less baseline; NaN where one of them is missing or not
    finite, because a mean over what happens to be there would compare different prompts. Controls are left out, and all
    doses but the first.
    """
    wanted = entry.metric or study.metrics[0].name
    version = next(type(metric).version for metric in study.metrics if metric.name == wanted)
    values = journal.values(model, wanted, version)
    baseline = next(edit.edit_id for edit in edits if edit.family == BASELINE)
    chosen = [prompt.prompt_id for prompt in prompts if prompt.split != "confirm"]
    found: dict[frozenset[str], float] = {}
    for edit in edits:
        labels = frozenset(target.label for target in edit.targets)
        if edit.family == entry.name and edit.control_of is None and labels not in found:
            found[labels] = _mean_effect(values, edit.edit_id, baseline, chosen)
    return found


def _mean_effect(values: Mapping[tuple[str, str], float], edit: str, baseline: str, prompts: Sequence[str]) -> float:
    each = [values.get((edit, p), math.nan) - values.get((baseline, p), math.nan) for p in prompts]
    mean = math.fsum(each) / len(each) if each and all(math.isfinite(one) for one in each) else math.nan
    return mean
