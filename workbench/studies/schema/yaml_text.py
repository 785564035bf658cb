"""YAML as plain values, with the line that each of them stands on.

Only what a study needs of YAML: mappings, lists, texts, numbers, true, false and null. Tags are refused because they
name code; anchors, aliases and merge keys because a study that can be read line by line needs no expansion (and a file
of a few lines can expand to gigabytes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from workbench.studies.schema.paths import Place
from workbench.studies.schema.scalars import Scalar, UnclearScalarError, read_scalar

MOST_CHARACTERS = 2_000_000
"""Of a study file. Larger ones are no studies: sets of targets that long belong in a kind of site."""
DEEPEST = 40
"""Lists and mappings within each other."""
_PLAIN_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a study.

    Attributes:
        place: where it stands.
        says: what is wrong and what would be right.
        line: from 1; None where the place says enough.
    """

    place: Place
    says: str
    line: int | None = None


@dataclass
class Document:
    """A YAML text that was read.

    Attributes:
        value: dictionaries, lists and scalars; what is wrong is left out.
        lines: of every value, by its place, from 1; of an entry of a mapping, its key's.
        problems: all that is wrong with it as YAML.
    """

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, place: Place) -> int | None:
        """Of a place, or of the innermost one around it that the text holds; None where there is nothing at all."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read_yaml(text: str) -> Document:
    """Read YAML text. What is wrong with it is among the problems; no error is raised."""
    document = Document()
    if len(text) > MOST_CHARACTERS:
        said = f"{len(text):,} characters are too many for a study; {MOST_CHARACTERS:,} may be read"
        document.problems.append(Problem((), said))
        return document
    try:
        document.problems.extend(_forbidden(text))
        node = None if document.problems else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        document.problems.append(_unreadable(error))
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        document.problems.append(Problem((), f"this is no YAML: {said}"))
    else:
        if node is not None:
            document.value = _value(node, (), document)
    return document


def _forbidden(text: str) -> Iterator[Problem]:
    """What a study may not hold, found before any of it is put together."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            yield Problem((), f"the alias *{event.anchor}: a study has none; write out what it stands for", line)
        elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            yield Problem((), f"the anchor &{event.anchor}: a study has none; write out what is repeated", line)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            tag = event.tag.replace(_PLAIN_TAG, "!!")
            yield Problem((), f"the tag {tag}: a study has none; its keys say what a value is", line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                yield Problem((), f"lists and mappings lie more than {DEEPEST} deep within each other", line)
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                yield Problem((), "a second document begins here (---); a file holds one study", line)
                return


def _unreadable(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.context, error.problem) if part)
    if error.context_mark is not None and mark is not None and error.context_mark.line < mark.line:
        said += f"; that begins on line {error.context_mark.line + 1}"
    if "mapping values are not allowed" in said:
        said += '; a text with ": " in it stands in quotes, and keys of one mapping begin in one column'
    elif "\\t" in said or "\t" in said:
        said += "; lines are indented by spaces, not by tabs"
    return Problem((), f"this is no YAML: {said}", None if mark is None else mark.line + 1)


def _value(node: yaml.Node, place: Place, document: Document) -> Any:
    document.lines.setdefault(place, _line(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, number), document) for number, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)  # there is no fourth kind
    return _scalar(node, place, document)


def _mapping(node: yaml.MappingNode, place: Place, document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = _line(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem(place, "a list or mapping stands where a key is needed", line))
            continue
        known = len(document.problems)
        key = _scalar(key_node, place, document)
        if not isinstance(key, str):
            if len(document.problems) == known:
                document.problems.append(Problem(place, f'a key is text; write "{key_node.value}":', line))
            continue
        below = (*place, key)
        if key in found:
            document.problems.append(
                Problem(below, f"the key stands here for a second time; first on line {document.lines[below]}", line)
            )
            continue
        document.lines[below] = line
        found[key] = _value(value_node, below, document)
    return found


def _scalar(node: yaml.ScalarNode, place: Place, document: Document) -> Scalar:
    word: str = node.value
    try:
        word.encode("utf-8")  # "\\ud800" is no character, and no file could hold it
        return word if node.style else read_scalar(word)  # quoted, or a block: text whatever it looks like
    except UnicodeEncodeError:
        said = "half of a surrogate pair is no character"
    except UnclearScalarError as error:
        said = str(error)
    document.problems.append(Problem(place, said, _line(node)))
    return None


def _line(marked: yaml.Node | yaml.Event) -> int:
    """The line that a node or event begins on, from 1."""
    mark: Any = marked.start_mark  # always there in what a text was read into
    return int(mark.line) + 1
