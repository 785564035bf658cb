"""Gated DeltaNet of the zoo, with more heads than one and K != V."""

from tests.families.case import Case, zoo

CASES = {
    "zoo gated_delta": Case(zoo("gated_delta", n_heads=2, expand_v=1.5)),
    "zoo gated_delta with negative eigenvalues": Case(
        zoo("gated_delta", n_heads=3, expand_k=0.5, expand_v=1.0, double_beta=True, conv_bias=True, conv_size=3)
    ),
}
