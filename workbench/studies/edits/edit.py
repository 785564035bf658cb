"""An edit: a set of targets changed by a method, in one model of a study."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from workbench.studies.edits.site import Target
from workbench.studies.identity import canonical, digest

BASELINE = "baseline"
"""The family of the edit that changes nothing."""

CORRUPT = "corrupt"
"""The family of the edit that reads each prompt's corrupt version instead, unedited: as far as patching can go."""

UNEDITED = (BASELINE, CORRUPT)
"""The families of no entry."""

PLACES = ("file", "sae")
"""Options of kinds that say where something lies; their ``digest`` says what it is."""


@dataclass(frozen=True)
class Edit:
    """One edit of a study; together with a prompt it is a unit of work.

    Attributes:
        model: the model's name in the study.
        family: the name of the entry under ``edits:`` that it belongs to, `BASELINE` or `CORRUPT` for no edit.
        targets: what is changed, all at once.
        site: canonical JSON of the kind of site (`Kind.canonical`), None for the baseline.
        method: canonical JSON of the method, at its dose; None for the baseline.
        dose: the strength, where the method has several.
        positions: where it acts: None for everywhere, ``"scored"``, ``"last"``, or listed.
        control_of: label of the edit that it is a random control of.
        round: of the search, from 0.
        seed: of what is random in it.
    """

    model: str
    family: str
    targets: tuple[Target, ...] = ()
    site: dict[str, Any] | None = field(default=None, hash=False)
    method: dict[str, Any] | None = field(default=None, hash=False)
    dose: float | None = None
    positions: str | tuple[int, ...] | None = None
    control_of: str | None = None
    round: int = 0
    seed: int = 0

    @property
    def label(self) -> str:
        """The targets as people write them: ``L0H1``, ``L0H1 + L1H3``."""
        return " + ".join(target.label for target in self.targets) or self.family

    @classmethod
    def corrupt(cls, model: str) -> Edit:
        """The unedited run of the corrupt prompts, in a model of a study."""
        return cls(model=model, family=CORRUPT, method={"kind": CORRUPT})

    @property
    def unedited(self) -> bool:
        """Whether the model is left as it is."""
        return self.family in UNEDITED

    @property
    def layer(self) -> int:
        """The lowest layer that it touches."""
        return min((target.layer for target in self.targets), default=0)

    @property
    def size(self) -> int:
        """How many components it touches."""
        return sum(target.size for target in self.targets)

    @cached_property
    def edit_id(self) -> str:
        """128 bits of what it does (not of the family's name, the round, or whose control it is)."""
        targets = sorted(
            ([one.at, one.heads, one.units, one.more] for one in self.targets),
            key=canonical,
        )
        return digest([self.model, targets, _content(self.site), _content(self.method), self.positions, self.seed])


def _content(kind: dict[str, Any] | None) -> dict[str, Any] | None:
    """A kind without where its file lies, if it says what the file holds."""
    if kind is None or kind.get("digest") is None:
        return kind
    return {option: value for option, value in kind.items() if option not in PLACES}
