"""Prompts that are windows of running text: every position predicts the token after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workbench.errors import InputError
from workbench.studies.inputs.prompt import Prompt
from workbench.windows import text_windows

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.studies.schema.study import TextInputs


def text_prompts(inputs: TextInputs, model: HookedModel, base: Path) -> list[Prompt]:
    """Windows of a file, or of every .txt file of a folder, that do not overlap, evenly spread over all there are.

    Windows of several files are grouped by file; those of one file are groups of their own.

    Raises:
        InputError: nothing is there, it is no UTF-8 text, or it holds no window; see `text_windows`.
    """
    from workbench.studies.schema.paths import inside

    texts = _texts(inside(base, inputs.text))
    rows: list[tuple[str, list[int]]] = []
    for name, text in texts.items():
        try:
            rows += [(name, row) for row in text_windows(model, text, inputs.length).tolist()]
        except InputError:
            # A short file among others is left out; alone, or with a length that no text has, it is refused.
            if len(texts) == 1:
                raise
    if not rows:
        raise InputError(f"No file in {inputs.text} holds {inputs.length} tokens.")
    chosen = torch.linspace(0, len(rows) - 1, min(inputs.count, len(rows))).long().tolist()
    return [_prompt(rows[number][1], rows[number][0] if len(texts) > 1 else str(number)) for number in chosen]


def _prompt(row: list[int], group: str) -> Prompt:
    return Prompt(tokens=tuple(row), scored=tuple(range(len(row) - 1)), answers=tuple(row[1:]), group=group)


def _texts(place: Path) -> dict[str, str]:
    """Texts by the names of their files, blank ones left out."""
    files = sorted(file for file in place.rglob("*.txt") if file.is_file()) if place.is_dir() else [place]
    if not files:
        raise InputError(f"There is no *.txt in {place} or below.")
    found = {str(file.relative_to(place)) if file != place else file.name: read_utf8(file) for file in files}
    kept = {name: text for name, text in found.items() if text.strip()}
    if not kept:
        raise InputError(f"{place} holds no text.")
    return kept


def read_utf8(file: Path) -> str:
    """A file's text. Raises InputError where there is none, or it is no UTF-8."""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}).") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error
