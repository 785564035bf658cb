"""Prompts that are windows of running text: every position predicts the token after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.studies.inputs.prompt import Prompt
from workbench.texts import named_texts
from workbench.windows import spread_over, text_windows

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

    texts = named_texts(inside(base, inputs.text))
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
    chosen = spread_over(len(rows), inputs.count)
    return [_prompt(rows[number][1], rows[number][0] if len(texts) > 1 else str(number)) for number in chosen]


def _prompt(row: list[int], group: str) -> Prompt:
    return Prompt(tokens=tuple(row), scored=tuple(range(len(row) - 1)), answers=tuple(row[1:]), group=group)
