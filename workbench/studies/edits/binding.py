"""From an edit of a study to hooks for one prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.method import METHODS, Donors, MethodKind, Surroundings
from workbench.studies.edits.site import SITES, BoundEdit, SiteKind, Target
from workbench.studies.identity import canonical, digest
from workbench.studies.inputs.prompt import Prompt


def bind_edit(model: HookedModel, edit: Edit, prompt: Prompt, donors: Donors) -> BoundEdit:
    """The hooks of an edit for the run of one prompt.

    Raises:
        InputError: a position outside the prompt, or what the site or the method lacks there.
    """
    if edit.site is None or edit.method is None:
        return BoundEdit([])
    site, method = _kinds(canonical(edit.site), canonical(edit.method))
    positions = resolved(edit.positions, prompt)
    seed = int(digest([edit.seed, prompt.prompt_id])[:15], 16)
    return site.bind(edit.targets, method, Surroundings(model, prompt, donors, positions, seed))


def check_edits(
    model: HookedModel,
    site: SiteKind,
    method: MethodKind,
    targets: Sequence[Target],
    positions: str | Sequence[int] | None,
    prompts: Sequence[Prompt],
) -> None:
    """Refuse, before anything runs, an entry of edits that could not be bound.

    Args:
        targets: of the site in the model.
        prompts: that the model reads.

    Raises:
        InputError: a method that makes no sense at the sites; prompts without what the method or the positions need.
    """
    site.check(model, targets, method)
    site.check_prompts(prompts)
    method.check_prompts(prompts)
    where = positions if positions is None or isinstance(positions, str) else tuple(positions)
    for prompt in prompts:
        resolved(where, prompt)


def resolved(positions: str | tuple[int, ...] | None, prompt: Prompt) -> tuple[int, ...] | None:
    """Positions in a prompt, ascending from 0; None for all. Raises InputError for one outside it, or none at all."""
    time = len(prompt.tokens)
    if positions is None:
        return None
    if positions == "last":
        return (time - 1,)
    listed = prompt.scored if positions == "scored" else positions
    assert not isinstance(listed, str)  # the study file has no other words
    outside = [one for one in listed if not -time <= one < time]
    if outside or not listed:
        wrong = f"no position {outside[0]}" if outside else "no position to edit"
        raise InputError(f"A prompt of {time} tokens has {wrong}.")
    return tuple(sorted({one % time for one in listed}))


@lru_cache(maxsize=256)
def _kinds(site: str, method: str) -> tuple[SiteKind, MethodKind]:
    return SITES.parse(json.loads(site)), METHODS.parse(json.loads(method))
