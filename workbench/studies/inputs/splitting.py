"""Prompts divided into those that serve to find things and those that confirm them, whole groups to one side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.studies.identity import digest
from workbench.studies.inputs.prompt import Prompt

if TYPE_CHECKING:
    from workbench.studies.schema.study import Split


def divided(prompts: list[Prompt], split: Split | None, seed: int) -> list[Prompt]:
    """Prompts with their side, in the order given; without a split every prompt serves for both.

    Which groups go where depends on the seed and their names alone; shares are taken relative to each other.

    Raises:
        InputError: there are not two groups to divide.
    """
    if split is None:
        return prompts
    groups = sorted({prompt.group for prompt in prompts}, key=lambda group: digest([seed, group]))
    if len(groups) < 2:
        raise InputError(f"A split needs at least two groups of prompts, and there is {len(groups)}.")
    share = split.discover / (split.discover + split.confirm)
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    discover = set(groups[:count])
    return [replace(prompt, split="discover" if prompt.group in discover else "confirm") for prompt in prompts]
