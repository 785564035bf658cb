"""The zoo's leaky recurrent network."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {"zoo leaky rnn": Case(zoo("leaky_rnn", units=7), conditional=True)}
