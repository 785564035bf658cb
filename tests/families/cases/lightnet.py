"""LightNet of the zoo, with one head and with several, K != V."""

from tests.families.case import Case, zoo

CASES = {
    "lightnet": Case(zoo("lightnet", gate_rank=3)),
    "lightnet with heads": Case(zoo("lightnet", n_heads=3, expand_k=0.5, gate_rank=5)),
}
