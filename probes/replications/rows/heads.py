"""Rows about heads that published finders look for."""

from __future__ import annotations

import workbench
from workbench.probes.causal import ablate_top_k
from workbench.probes.heads import find_heads
from workbench.probes.replications.registry import Outcome, replication


@replication(
    "induction-heads",
    section="Finding heads",
    paper="In-context Learning and Induction Heads (Olsson et al. 2022)",
    published="a few heads attend to the token after the previous occurrence, and without them copying is lost",
    ask='find_heads(model, "induction"); ablate_top_k(model, table, 2)',
)
def induction_heads() -> Outcome:
    """The same call on a Transformer and on recurrent members of the zoo."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in ("attention", "mamba2", "gated_delta", "rwkv7"):
        model = workbench.load(f"zoo:{name}")
        table = find_heads(model, "induction")
        check = ablate_top_k(model, table, 2, draws=10)
        intact, without, others = (float(value) for value in check["accuracy_second"])  # baseline, top, random
        score, above = float(table["score"].iloc[0]), int((table["low"] > table["null"]).sum())
        numbers |= {
            f"{name}: best score": score,
            f"{name}: heads above the null": above,
            f"{name}: copying": intact,
            f"{name}: copying without the top 2": without,
            f"{name}: copying without 2 others": others,
        }
        sentences.append(
            f"{name}: best score {score:.2f}, copying {intact:.0%}, {without:.0%} without the top 2 heads, "
            f"{others:.0%} without 2 others"
        )
    agrees = all(
        numbers[f"{name}: copying without the top 2"] < numbers[f"{name}: copying without 2 others"]
        for name in ("attention", "mamba2", "gated_delta", "rwkv7")
    )
    return Outcome("; ".join(sentences) + ".", agrees, numbers)
