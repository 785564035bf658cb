"""Rows about features that make a model repeat itself."""

from __future__ import annotations

from typing import Any

import workbench
from workbench.probes.replications import Outcome, replication
from workbench.saes.files import load_sae
from workbench.saes.replications.text import written
from workbench.saes.using import repetition_experiment


@replication(
    "repeat-curse",
    section="Changing a model",
    paper="Understanding the Repeat Curse in Large Language Models from a Feature Perspective (Yao et al. 2025)",
    published="clamping a few features of a sparse autoencoder during generation starts and stops repetition",
    ask="repetition_experiment(model, sae, text).table()",
)
def repeat_curse() -> Outcome:
    """Eight features of each shipped autoencoder that fire more on a text's second copy, found and tried on own text.

    The shape, on each member: clamped to twice their largest activation they raise the share of repeated 4-grams, and
    ablated they lower it behind a text said three times, both with intervals over prompts that leave out 0 and by more
    than random features of the same density do.
    """
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for name in ("attention", "mamba", "gated_delta"):
        model = workbench.load(f"zoo:{name}", check=False)
        sae = load_sae(f"zoo:{name}/resid_post")
        done = repetition_experiment(model, sae, written(model, 80, 24), count=8, strengths=(2.0,), prompts=32)
        rows: dict[Any, dict[Any, Any]] = {
            (row["task"], row["condition"]): row for row in done.table().to_dict("records")
        }
        parts = []
        for task, sign in (("induce", 1), ("suppress", -1)):
            own, control = rows[task, "features"], rows[task, "controls"]
            change = sign * float(own["change"])
            limit = float(own["change_low" if sign > 0 else "change_high"])
            numbers |= {
                f"{name}, {task}: score, unsteered": float(rows[task, "unsteered"]["score"]),
                f"{name}, {task}: score, features": float(own["score"]),
                f"{name}, {task}: score, controls": float(control["score"]),
                f"{name}, {task}: limit of the change": limit,
                f"{name}, {task}: loss, features": float(own["loss"]),
            }
            agrees &= sign * limit > 0 and change > sign * float(control["change"])
            parts.append(
                f"{task} {numbers[f'{name}, {task}: score, unsteered']:.2f} to {own['score']:.2f} "
                f"(random features {control['score']:.2f})"
            )
        said.append(f"{name}: {', '.join(parts)}")
    return Outcome(f"Share of repeated 4-grams: {'; '.join(said)}.", agrees, numbers)
