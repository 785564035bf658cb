"""Verbatim short-term memory: is a list of words that comes back read with less surprise?

Armeni, Honey and Linzen 2022, "Characterizing Verbatim Short-Term Memory in Neural Language Models": the surprisal of
the second list over that of the first, for the same list, a permuted one and new words, against the list's length and
the text between.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.tasks import score_model
from workbench.tasks.noun_lists import SECOND, repeat_surprisal, repeated_noun_list


@checked_call
def verbatim_memory(
    model: HookedModel,
    *,
    items: Sequence[int] = (3, 5, 10),
    gaps: Sequence[int] = (0, 30, 100),
    second: Sequence[str] = SECOND,
    filler: str = "varied",
    batch: int = 16,
    batch_size: int | None = 8,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """Repeat surprisal for every kind of second list, list length and gap.

    Args:
        items: nouns a list.
        gaps: tokens of text between the lists, at most.
        second: kinds of second list: ``"same"``, ``"permuted"``, ``"new"``.
        filler: what stands between; as in the task ``repeated_noun_list``.
        batch: sequences a condition; the same nouns and text in all kinds of second list.
        batch_size: sequences a forward pass.
        seed: of nouns and text.
        level: coverage of the intervals, a bootstrap over sequences.
        progress: show a progress bar.

    Returns:
        One row a condition: ``second``, ``items``, ``gap``, ``surprisal`` (of the second list as a share of the
        first: 1 is no memory, 0 a perfect one) with ``low`` and ``high``, and the lists' surprisals ``first_list`` and
        ``second_list`` in nats a token.

    Raises:
        InputError: no tokenizer, no condition, or an option that the task does not take.
    """
    conditions = [(kind, size, gap) for size in items for gap in gaps for kind in second]
    if not conditions:
        raise InputError("items, gaps and second each name at least one value.")
    rows = []
    for kind, size, gap in tracked(conditions, progress, "reading lists twice"):
        task = repeated_noun_list(model, size, second=kind, gap=gap, filler=filler, batch=batch, seed=seed)
        scores = score_model(model, task, batch_size=batch_size)
        share = repeat_surprisal(scores, level=level)
        rows.append(
            {
                "second": kind,
                "items": size,
                "gap": gap,
                "surprisal": share.mean,
                "low": share.low,
                "high": share.high,
                "first_list": scores.interval("loss", "first").mean,
                "second_list": scores.interval("loss", "second").mean,
            }
        )
    return pd.DataFrame(rows)
