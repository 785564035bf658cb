"""Units: the name of each edit on each prompt, made of everything that its result depends on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from workbench.studies.edits.edit import Edit
from workbench.studies.identity import VERSION, digest
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning.survey import Survey

_SOURCE = re.compile(r"(all|discover|confirm)(/.*)?", re.DOTALL)


class UnitNames:
    """Names of one model's units.

    A unit's name holds the model's weights and dtype, what is edited and how, the tokens and where they are scored, and
    which prompts the edit takes replacements from: a mean over other prompts is another edit. It does not hold metrics;
    those are stored beside each other.
    """

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._recipes: dict[str, str | None] = {}

    def unit_id(self, edit: Edit, prompt_id: str) -> str:
        """128 bits, as 32 hexadecimal digits."""
        return digest([VERSION, *self._model, edit.edit_id, prompt_id, self._recipe(edit)])

    @cached_property
    def _model(self) -> tuple[str, str]:
        return self._survey.digest, self._survey.dtype

    def _recipe(self, edit: Edit) -> str | None:
        if edit.edit_id not in self._recipes:
            named = sorted(set(sources([edit.method, edit.site])))
            chosen = {name: [p.prompt_id for p in donors(self._survey.prompts, name)] for name in named}
            self._recipes[edit.edit_id] = digest(chosen) if chosen else None
        return self._recipes[edit.edit_id]


def sources(given: Any) -> Iterator[str]:
    """The splits, or groups of splits, that the JSON of a method takes replacements from."""
    if isinstance(given, dict):
        for value in given.values():
            yield from sources(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from sources(value)
    elif isinstance(given, str) and _SOURCE.fullmatch(given):
        yield given


def donors(prompts: Sequence[Prompt], source: str) -> list[Prompt]:
    """The prompts that a source means: of a split, and of one group where it goes on ``/group``."""
    split, _, group = source.partition("/")
    return [
        prompt
        for prompt in prompts
        if (split == "all" or prompt.split in (split, "all")) and (not group or prompt.group == group)
    ]
