"""Prompts, targets and edits as JSON, and back: what is stored of them is what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from workbench.studies.edits.edit import Edit
from workbench.studies.edits.site import Target
from workbench.studies.identity import canonical
from workbench.studies.inputs.prompt import Prompt


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk as it is planned: what an assignment will hold, by name.

    Attributes:
        round: of the search, from 0.
        macs: multiplications that it takes with reuse, estimated; 0 where nobody counted.
    """

    chunk_id: str
    model: str
    round: int
    edit_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    macs: float = 0.0

    @property
    def size(self) -> int:
        """How many units it holds."""
        return len(self.edit_ids) * len(self.prompt_ids)


_PROMPT, _TARGET, _EDIT = TypeAdapter(Prompt), TypeAdapter(Target), TypeAdapter(Edit)


def prompt_text(prompt: Prompt) -> str:
    """A prompt as JSON."""
    return canonical(asdict(prompt))


def prompt_of(text: str) -> Prompt:
    """The prompt that `prompt_text` wrote."""
    return _PROMPT.validate_json(text)


def target_of(given: Mapping[str, Any]) -> Target:
    """The target whose fields these are, from JSON."""
    return _TARGET.validate_python(given)


def edit_text(edit: Edit) -> str:
    """An edit as JSON."""
    return canonical(asdict(edit))


def edit_of(text: str) -> Edit:
    """The edit that `edit_text` wrote."""
    return _EDIT.validate_json(text)
