"""A study as YAML text that reads back as the same study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from workbench.studies.kinds import Kind
from workbench.studies.schema.scalars import UnclearScalarError, read_scalar

if TYPE_CHECKING:
    from workbench.studies.schema.study import Study


class _Dumper(yaml.SafeDumper):
    """Writes what `read_yaml` reads: no aliases, and quotes around every text that looks like something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = text.isprintable() and read_scalar(text) == text
    except UnclearScalarError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def study_text(study: Study, defaults: bool = True) -> str:
    """YAML that reads back as the study.

    Args:
        defaults: whether to write every key, so that it is the same study when defaults have changed; else what is at
            its default is left out, as people write it.
    """
    whole = study.model_dump(mode="json")
    return yaml_text(whole if defaults else {"version": study.version, **_brief(study, whole)})


def _brief(value: object, dumped: Any) -> Any:
    """The JSON of a value, without what is at its default; a kind without options is its word."""
    if isinstance(value, list | tuple):
        return [_brief(each, json) for each, json in zip(value, dumped, strict=True)]
    if not isinstance(value, BaseModel):
        return dumped
    kept = {}
    for name, field in type(value).model_fields.items():
        brief = _brief(getattr(value, name), dumped[name])
        if field.is_required() or brief != _default(field):
            kept[name] = brief
    return ({"kind": value.word, **kept} if kept else value.word) if isinstance(value, Kind) else kept


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    return _brief(default, to_jsonable_python(default))


def yaml_text(value: object) -> str:
    """YAML of plain values, keys in their order, short lists on one line."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
