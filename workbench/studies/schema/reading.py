"""A study file, read: checked as YAML, then as a study, with every mistake said at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.errors import InputError
from workbench.studies.schema.overrides import Override, apply_overrides, parse_override
from workbench.studies.schema.paths import Place, inside, paths_of
from workbench.studies.schema.refusals import refusals
from workbench.studies.schema.study import FORMAT, Study
from workbench.studies.schema.versions import migrated
from workbench.studies.schema.yaml_text import Document, Problem, read_yaml

FIRST_KEYS = "name:, models:, inputs:, edits: and metrics:"


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """The study in a YAML file.

    Args:
        path: the file. Paths in it are relative to its folder and do not lead out of it.
        overrides: ``"run.workers=2"``: values to change before the study is checked (`parse_override`).

    Raises:
        InputError: it cannot be read, or is no study; one line a mistake, each with the file, its line, the place such
            as ``edits[0].sites.layers``, what is wrong, and what would be right.
    """
    file = Path(path)
    if file.suffix == ".py":
        raise InputError(
            f"{file} is Python code, which runs when it is read: workbench study run {file} --trust-python does that, "
            "for files you trust."
        )
    document = read_yaml(_text(file))
    return _checked(document.value, [parse_override(each) for each in overrides], document, str(file), file)


def changed_study(study: Study, overrides: Sequence[str], name: str) -> Study:
    """A study that is already read or was built in Python, with values changed as `read_study` does.

    Args:
        name: what messages call it.

    Raises:
        InputError: as `read_study`.
    """
    if not overrides:
        return study
    parsed = [parse_override(each) for each in overrides]
    return _checked(study.model_dump(mode="json"), parsed, Document(), name, None)


def explained(error: ValidationError, name: str) -> InputError:
    """What pydantic refused of a part of a study that Python built, as one sentence a mistake."""
    problems = [Problem(tuple(each["loc"]), each["msg"].rstrip(".")) for each in error.errors(include_url=False)]
    return _error(problems, Document(), [], f"{name}: {error.title}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no study file {file}.") from None
    except IsADirectoryError:
        raise InputError(f"{file} is a folder; name a study file in it, such as {file}/*.yaml.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}); a study file is YAML.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from None


def _checked(given: Any, overrides: Sequence[Override], document: Document, name: str, file: Path | None) -> Study:
    problems = list(document.problems)
    if given is None and not problems:
        raise InputError(f"{name} holds nothing; a study has the keys {FIRST_KEYS}.")
    if not isinstance(given, dict):
        if not problems:
            raise InputError(f"{name}: a study is a mapping of keys: {FIRST_KEYS}.")
        raise _error(problems, document, overrides, name)
    given = apply_overrides(given, overrides)
    study = None
    try:
        current, _ = migrated(given, FORMAT)
    except InputError as error:
        raise _error([Problem(("version",), str(error))], document, overrides, name) from None
    try:
        study = Study.model_validate(current)
    except ValidationError as error:
        unclear = {problem.place for problem in problems}
        problems += [each for each in refusals(error, Study, current) if each.place not in unclear]
    if study is not None and file is not None:
        problems += _outside(study, file)
    if problems or study is None:
        raise _error(problems, document, overrides, name)
    return study


def _outside(study: Study, file: Path) -> list[Problem]:
    found = []
    for place, path in paths_of(study):
        try:
            inside(file.absolute().parent, path)
        except InputError as error:
            found.append(Problem(place, str(error)))
    return found


def _error(problems: Sequence[Problem], document: Document, overrides: Sequence[Override], name: str) -> InputError:
    """All problems as one error, in the order of the file, those of overrides last."""
    lines = []
    for problem in problems:
        override = _cause(problem.place, overrides)
        line = problem.line or document.line(problem.place)
        where = f"--set {override.text}" if override else name if line is None else f"{name}:{line}"
        said = ": ".join(part for part in (where, dotted(problem.place), problem.says) if part)
        lines.append((overrides.index(override) + 1 if override else 0, line or 0, f"{said}."))
    lines.sort(key=lambda each: each[:2])
    head = "" if len(lines) == 1 else f"{len(lines)} mistakes in {name}:\n"
    return InputError(head + "\n".join(text for *_, text in lines))


def _cause(place: Place, overrides: Sequence[Override]) -> Override | None:
    """The override that put there what stands at a place."""
    return next((each for each in overrides if place[: len(each.place)] == each.place), None)


def dotted(place: Place) -> str:
    """A place as people write it: ``edits[0].sites.layers``."""
    text = "".join(f"[{element}]" if isinstance(element, int) else f".{element}" for element in place)
    return text.removeprefix(".")
