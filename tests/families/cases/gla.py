"""GLA of the zoo, with more heads than one, K != V, and with and without its options."""

from tests.families.case import Case, zoo

CASES = {
    "gla": Case(zoo("gla", n_heads=2, expand_k=0.5, expand_v=1.5, gate_rank=3)),
    "gla with short convolutions": Case(
        zoo("gla", n_heads=3, expand_k=1.0, expand_v=0.5, short_conv=True, conv_bias=True, conv_size=3)
    ),
    "gla without gate and norm weight": Case(zoo("gla", n_heads=2, output_gate=False, norm_weight=False)),
}
