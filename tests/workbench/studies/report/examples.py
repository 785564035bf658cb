"""A small made-up study with all there is to report: two models, controls, doses, pairs, gaps and failures."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tests.workbench.studies.statistics.made_up import MadeUp, a_study, an_edit, noise, together

GROUPS = 16


def everything() -> MadeUp:
    """Heads with controls and one strong head (L0H1), pairs, doses, one MLP a layer; loss and KL."""
    study = a_study(
        name="everything",
        question="Which heads matter?",
        models=["zoo:attention", "zoo:mamba"],
        metrics=["loss", "kl"],
        statistics={"resamples": 500},
        edits=[
            {"name": "heads", "sites": "heads", "method": "zero", "controls": {"draws": 3}},
            {"name": "doses", "sites": "heads", "method": {"kind": "scale", "factor": [0.0, 0.5]}},
            {"name": "mlps", "sites": "mlps", "method": "mean"},
        ],
    )
    parts = []
    for seed, (model, label) in enumerate(
        (model, f"L{layer}H{head}") for model in ("attention", "mamba") for layer in range(2) for head in range(4)
    ):
        if (model, label) == ("attention", "L1H3"):
            continue  # never measured
        strong = 2.0 if label == "L0H1" else 0.0
        parts += _measured(label, strong + noise(GROUPS, seed, 0, 0.3), model=model)
    for number, size in enumerate((0.1, -0.2, 0.3)):
        parts += _measured(f"L0H{number}", noise(GROUPS, 40 + number, size, 0.1), control_of="L0H1")
    parts += _measured("L0H1 + L1H0", noise(GROUPS, 50, 1.0, 0.2))
    parts += _measured("L0H1 + L1H1", noise(GROUPS, 51, 2.0, 0.2))
    parts += _measured("L1H0 + L1H1", noise(GROUPS, 52, 0.0, 0.2))
    for dose in (0.0, 0.5):
        parts += _measured("L0H1", noise(GROUPS, 60, 2 - 2 * dose, 0.1), family="doses", dose=dose, method=f"at {dose}")
    for layer in range(2):
        parts += _measured(f"L{layer}.mlp", noise(GROUPS, 70 + layer, layer, 0.1), family="mlps", method="mean")
    frame = together(*parts)
    gap = (frame["label"] == "L0H2") & (frame["prompt_id"] == "p003") & frame["control_of"].isna()
    frame.loc[gap, ["value", "effect"]] = np.nan
    attempts = pd.DataFrame(
        [
            {
                "attempt_id": number,
                "run_id": 1,
                "host": "box",
                "device": device,
                "threads": 1,
                "engine": "local",
                "command": "workbench study run everything.yaml",
                "versions": '{"torch":"2.9"}',
            }
            for number, device in enumerate(("cpu", "cuda:0"))
        ]
    )
    return MadeUp(
        frame.assign(attempt_id=np.arange(len(frame)) % 2),
        study,
        plan={
            "models": [{"model": "attention", "layers": 2, "digest": "ab12"}],
            "warnings": ["16 groups: exploratory"],
        },
        attempts=attempts,
        coverage={"planned": 500, "done": 490, "failed": 10, "not_finite": {}, "reasons": {"no memory was left": 10}},
        verified=pd.DataFrame({"stored": [1.0, 2.0], "plain": [1.0, 2.5]}),
    )


def _measured(label: str, effects: np.ndarray, **more: Any) -> list[pd.DataFrame]:
    return [
        an_edit(label, effects, **more),
        an_edit(label, np.abs(effects) / 2, baseline=0.0, metric="kl", **more),
    ]


def nothing() -> MadeUp:
    """Planned, never run."""
    full = everything()
    coverage = {"planned": 500, "done": 0, "failed": 0, "not_finite": {}, "reasons": {}}
    return replace(full, frame=full.frame.iloc[:0], attempts=pd.DataFrame(), coverage=coverage, verified=pd.DataFrame())
