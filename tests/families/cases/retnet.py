"""RetNet of the zoo, with more heads than one and K != V."""

from tests.families.case import Case, zoo

CASES = {
    "retnet": Case(zoo("retnet", n_heads=3)),
    "retnet with short convolutions": Case(zoo("retnet", n_heads=2, expand_v=1.0, short_conv=True, conv_bias=True)),
}
