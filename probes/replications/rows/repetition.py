"""Rows about text that repeats itself."""

from __future__ import annotations

import workbench
from workbench.probes.replications.registry import Outcome, replication
from workbench.tasks import repetition, score_model, self_reinforcement

COPIES = 6


@replication(
    "break-the-loop",
    section="Changing a model",
    paper="Learning to Break the Loop: Analyzing and Mitigating Repetitions (Xu et al. 2022)",
    published="a sentence grows likelier with each repetition: over 90 % of its tokens after the first, then a plateau",
    ask="self_reinforcement(score_model(model, repetition(model, 6)))",
)
def break_the_loop() -> Outcome:
    """Sentences put together at random, six times over, on a Transformer and on a recurrent model.

    The shape: on both, tokens of the last copy are likelier than in the second and those than in the first, and more
    than nine in ten of them likelier than in the first.
    """
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for name in ("attention", "mamba2"):
        model = workbench.load(f"zoo:{name}", check=False)
        curve = self_reinforcement(score_model(model, repetition(model, COPIES, batch=24, seed=1))).set_index("copy")
        probability = {copy: float(curve["probability"][copy]) for copy in (1, 2, COPIES)}
        increased = float(curve["increased"][COPIES])
        numbers |= {f"{name}: probability, copy {copy}": value for copy, value in probability.items()}
        numbers[f"{name}: likelier than in the first copy"] = increased
        said.append(
            f"{name} {probability[1]:.2f}, {probability[2]:.2f}, {probability[COPIES]:.2f} "
            f"({increased:.0%} of the last copy's tokens likelier than in the first)"
        )
        agrees &= probability[1] < probability[2] < probability[COPIES] and increased > 0.9
    return Outcome(f"Mean probability of a token in copy 1, 2 and {COPIES}: {'; '.join(said)}.", agrees, numbers)
