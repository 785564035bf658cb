"""Cutting: edges between tokens, gone."""

from __future__ import annotations

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.interventions.selection import Change
from workbench.knockout import Meaning
from workbench.studies.edits.method import METHODS, MethodKind, Surroundings


@METHODS.register("cut")
class Cut(MethodKind):
    """Edges cut: a destination goes on as if it could not read a source (`workbench.knockout`); for sites ``edges``."""

    meaning: Meaning = "write"
    """``value``: what the source brings is lost; ``write``: for the destination, the source never wrote."""

    def check(self, point: HookPoint) -> None:
        raise InputError(f"The method cut is for edges, and {point.name} is a tensor; choose zero, mean, patch or fix.")

    def change(self, name: str, around: Surroundings) -> Change:
        raise InputError(f"The method cut is for edges; it changes no tensor, such as {name}.")
