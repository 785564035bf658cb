"""HGRN2 of the zoo, with more heads than one and K != V; layer 1 is the first one with a lower bound."""

from tests.families.case import Case, zoo

CASES = {
    "hgrn2": Case(zoo("hgrn2", n_heads=2, expand_v=1.5)),
    "hgrn2 with gate and short convolutions": Case(
        zoo("hgrn2", n_heads=3, expand_k=0.5, short_conv=True, conv_bias=True, output_gate=True, norm_weight=False)
    ),
    "hgrn2 without a lower bound": Case(zoo("hgrn2", n_heads=2, lower_bound=False)),
}
