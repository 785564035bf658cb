"""Prompts of one's own: a .jsonl file, one prompt a line, with its answer and whatever else is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field, ValidationError

from workbench.errors import InputError, offer
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.kinds import Strict
from workbench.texts import read_utf8

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.studies.schema.study import PromptInputs


class _Line(Strict):
    """One line of the file."""

    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    foil: str | list[str] = Field(default_factory=list)
    corrupt: str | None = None
    group: str | int | None = None
    id: str | int | None = None


def file_prompts(inputs: PromptInputs, model: HookedModel, base: Path) -> list[Prompt]:
    """The first prompts of a file of JSON lines: ``{"prompt": ..., "answer": ..., "foil"?, "corrupt"?, "group"?}``.

    The last position of the prompt is scored. What is right there is the first token of the answer as it is cut when it
    follows the prompt, so that an answer begins with its space: ``" Paris"``. Lines without a group are groups of their
    own.

    Raises:
        InputError: naming file and line: no JSON object, an unknown or a missing key, an answer that the tokenizer
            joins with the prompt, a foil that begins with the answer's token, a corrupt prompt of another length.
    """
    from workbench.studies.schema.paths import inside

    place = inside(base, inputs.prompts)
    found: list[Prompt] = []
    for number, text in enumerate(read_utf8(place).splitlines(), 1):
        if len(found) == inputs.count:
            break
        if not text.strip():
            continue
        try:
            found.append(_prompt(_line(text), model, str(number)))
        except InputError as error:
            raise InputError(f"{place}, line {number}: {error}") from None
    if not found:
        raise InputError(f"{place} holds no prompt.")
    return found


def _line(text: str) -> _Line:
    try:
        given: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"no JSON ({error}).") from None
    if not isinstance(given, dict):
        raise InputError(f"a JSON object is needed, with prompt and answer, not {type(given).__name__}.")
    try:
        return _Line.model_validate(given)
    except ValidationError as error:
        # A key that is there by another name is missing, too; what it was called is the better hint.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise InputError(f"there is no key {key!r}; {offer(key, _Line.model_fields)}.") from None
        if first["type"] == "missing":
            raise InputError(f"the key {key!r} is missing.") from None
        raise InputError(f"{key!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from None


def _prompt(line: _Line, model: HookedModel, number: str) -> Prompt:
    tokens = _tokens(model, line.prompt)
    answer = _first_token(model, line.prompt, tokens, line.answer)
    foils = [line.foil] if isinstance(line.foil, str) else line.foil
    wrong = tuple(_first_token(model, line.prompt, tokens, foil) for foil in foils)
    if answer in wrong:
        foil = foils[wrong.index(answer)]
        raise InputError(f"the foil {foil!r} begins with the same token as the answer {line.answer!r}.")
    corrupt = None if line.corrupt is None else tuple(_tokens(model, line.corrupt))
    if corrupt is not None and len(corrupt) != len(tokens):
        raise InputError(
            f"the corrupt prompt is {len(corrupt)} tokens long and the prompt {len(tokens)}; patching needs as many."
        )
    model.tokens.checked(torch.tensor([tokens]), None)
    return Prompt(
        tokens=tuple(tokens),
        scored=(len(tokens) - 1,),
        answers=(answer,),
        foils=(wrong,) if wrong else (),
        corrupt=corrupt,
        group=f"line {number}" if line.group is None else str(line.group),
    )


def _tokens(model: HookedModel, text: str) -> list[int]:
    found: list[int] = model.tokens.encode(text)[0][0].tolist()
    return found


def _first_token(model: HookedModel, prompt: str, tokens: list[int], answer: str) -> int:
    """The token that an answer begins with behind a prompt."""
    whole = _tokens(model, prompt + answer)
    if whole[: len(tokens)] != tokens or len(whole) == len(tokens):
        hint = "; move the space from the end of the prompt to the answer" if prompt[-1].isspace() else ""
        raise InputError(f"the tokenizer joins {answer!r} with the end of the prompt, so it has no first token{hint}.")
    return whole[len(tokens)]
