"""The zoo's LSTM."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {"zoo lstm": Case(zoo("lstm", units=7), conditional=True)}
