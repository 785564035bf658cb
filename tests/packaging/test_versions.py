"""The one set of pinned versions lies within the ranges that the package promises."""

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .tree import PROJECT, ROOT

EXTRAS = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = [*PROJECT["project"]["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_pin_lies_within_the_promised_range(line: str) -> None:
    requirement = Requirement(line)
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"{requirement.name} has no pin in constraints.txt."
    assert pinned in requirement.specifier


def test_pins_name_no_local_build() -> None:
    assert [name for name, version in pins().items() if version.local] == []
