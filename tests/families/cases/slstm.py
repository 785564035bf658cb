"""The zoo's sLSTM."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {"zoo slstm": Case(zoo("slstm", units=6, n_heads=2), conditional=True)}
