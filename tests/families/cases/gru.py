"""The zoo's GRU."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {"zoo gru": Case(zoo("gru", units=7), conditional=True)}
