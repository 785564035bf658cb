"""KDA of the zoo, with more heads than one and K != V."""

from tests.families.case import Case, zoo

CASES = {"zoo kda": Case(zoo("kda", n_heads=2, expand_v=1.5, conv_size=3))}
