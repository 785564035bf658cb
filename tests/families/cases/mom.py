"""MoM of the zoo: gated delta and linear memories, with a shared one and without."""

from tests.families.case import Case, zoo

CASES = {
    "mom": Case(zoo("mom", n_heads=2, memories=3, top_k=2, expand_k=0.5)),
    "mom with linear memories": Case(
        zoo("mom", n_heads=3, memories=4, top_k=1, shared=False, update="linear", expand_v=0.5)
    ),
}
