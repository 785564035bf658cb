"""The zoo's RWKV-7: a later layer, which mixes the first one's values in, and the first."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {
    "zoo rwkv7": Case(zoo("rwkv7", head_dim=4, rank=3)),
    "zoo rwkv7, first layer": Case(zoo("rwkv7", head_dim=6, rank=3), layer=0),
}
