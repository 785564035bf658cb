"""The zoo's RWKV-4."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {"zoo rwkv4": Case(zoo("rwkv4"))}
