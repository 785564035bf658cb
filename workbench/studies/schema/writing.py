"""A study as YAML text that reads back as the same study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

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


def study_text(study: Study) -> str:
    """YAML with every key of the study, defaults included: what runs again when defaults have changed."""
    return yaml_text(study.model_dump(mode="json"))


def yaml_text(value: object) -> str:
    """YAML of plain values, keys in their order, short lists on one line."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
