"""DeltaNet of the zoo, with more heads than one and K != V."""

from tests.families.case import Case, zoo

CASES = {
    "deltanet": Case(zoo("deltanet", n_heads=2, expand_v=1.5)),
    "deltanet with gate, without convolutions": Case(
        zoo("deltanet", n_heads=3, expand_k=0.5, short_conv=False, output_gate=True, double_beta=True)
    ),
}
