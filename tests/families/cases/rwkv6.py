"""The zoo's RWKV-6."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {"zoo rwkv6": Case(zoo("rwkv6", head_dim=4, mix_rank=3, rank=2))}
