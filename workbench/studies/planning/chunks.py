"""Chunks: units that run as one batch. What a chunk holds depends on the plan alone, never on who runs it when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from workbench.studies.edits.edit import Edit
from workbench.studies.identity import digest
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning.costs import Costs
from workbench.studies.store.records import PlannedChunk

BLOCK = 8
"""Prompts whose chunks come one after the other, so that a worker that keeps as many has each layer's input at hand."""

Missing = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By prompt, then by edit: the metrics that are still wanted."""

Item = TypeVar("Item")


def compose(
    model: str,
    number: int,
    edits: Sequence[Edit],
    prompts: Sequence[Prompt],
    missing: Missing,
    batch_tokens: int,
    costs: Costs,
) -> list[PlannedChunk]:
    """Put units that are missing into chunks, and the chunks in order.

    A chunk is every one of its edits with every one of its prompts: edits of one lowest layer, prompts of one length,
    and no more tokens than `batch_tokens` (but always one unit). Baselines come first. Then it goes block by block of
    prompts, and within a block up the layers.

    Args:
        number: of the round.
    """
    by_id = {edit.edit_id: edit for edit in edits}
    chunks: list[PlannedChunk] = []
    for unedited in (True, False):
        for several in _alike(prompts, by_id, missing, unedited):
            length = len(several[0].tokens)
            rows = max(1, batch_tokens // length)
            wanted = missing[several[0].prompt_id]
            for block in _pieces(several, rows if unedited else BLOCK):
                for (layer, metrics), listed in _by_layer(wanted, by_id, unedited).items():
                    for prompts_at_once in _pieces(block, max(1, rows // len(listed))):
                        for edits_at_once in _pieces(listed, rows):
                            chunks.append(
                                _chunk(model, number, edits_at_once, prompts_at_once, metrics, (layer, unedited), costs)
                            )
    return chunks


def _alike(
    prompts: Sequence[Prompt], edits: Mapping[str, Edit], missing: Missing, unedited: bool
) -> list[list[Prompt]]:
    """Prompts of one length that lack the same edits and metrics, in the order in which the first of them comes."""
    groups: dict[tuple[object, ...], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        lacking = tuple(
            (edit, metrics)
            for edit, metrics in missing.get(prompt.prompt_id, {}).items()
            if edits[edit].unedited is unedited
        )
        if lacking:
            groups[len(prompt.tokens), lacking].append(prompt)
    return list(groups.values())


def _by_layer(
    wanted: Mapping[str, tuple[str, ...]], edits: Mapping[str, Edit], unedited: bool
) -> dict[tuple[int, tuple[str, ...]], list[str]]:
    layers: dict[tuple[int, tuple[str, ...]], list[str]] = defaultdict(list)
    for edit, metrics in wanted.items():
        if edits[edit].unedited is unedited:
            layers[edits[edit].layer, metrics].append(edit)
    return dict(sorted(layers.items()))


def _chunk(
    model: str,
    number: int,
    edits: Sequence[str],
    prompts: Sequence[Prompt],
    metrics: tuple[str, ...],
    start: tuple[int, bool],
    costs: Costs,
) -> PlannedChunk:
    layer, unedited = start
    names = tuple(prompt.prompt_id for prompt in prompts)
    macs = sum(costs.restarted(0 if unedited else layer, len(p.tokens), len(p.scored)) for p in prompts) * len(edits)
    return PlannedChunk(
        digest([model, number, list(edits), list(names), list(metrics)]),
        model,
        number,
        tuple(edits),
        names,
        metrics,
        macs,
    )


def _pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Pieces of at most `size`, as equal as can be, so that the last one is no crumb."""
    count = -(-len(items) // size)
    for piece in range(count):
        yield items[piece * len(items) // count : (piece + 1) * len(items) // count]
