"""Results of studies that were never run: effects are put in by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import workbench.studies.edits
import workbench.studies.inputs
import workbench.studies.metrics
import workbench.studies.searches  # noqa: F401
from workbench.studies.schema.study import Study


def a_study(**changes: Any) -> Study:
    return Study.model_validate(
        {
            "name": "made-up",
            "seed": 3,
            "models": ["zoo:attention"],
            "inputs": {"task": "repeated_random_tokens", "count": 20},
            "edits": [{"name": "heads", "sites": "heads", "method": "zero"}],
            "metrics": ["loss"],
            "statistics": {"resamples": 500},
            **changes,
        }
    )


@dataclass(frozen=True)
class MadeUp:
    frame: pd.DataFrame
    study: Study = field(default_factory=a_study)
    plan: dict[str, Any] = field(default_factory=dict)
    attempts: pd.DataFrame = field(default_factory=pd.DataFrame)
    coverage: dict[str, Any] = field(
        default_factory=lambda: {"planned": 1, "done": 1, "failed": 0, "not_finite": {}, "reasons": {}}
    )
    disagreements: pd.DataFrame = field(default_factory=pd.DataFrame)
    verified: pd.DataFrame = field(default_factory=pd.DataFrame)
    folder: Path = Path("study-runs/made-up")


def an_edit(
    label: str,
    effects: Sequence[float],
    *,
    baseline: Sequence[float] | float = 2.0,
    groups: Sequence[str] | None = None,
    **more: Any,
) -> pd.DataFrame:
    """Rows of one edit: an effect a prompt; a prompt is called after its place."""
    count = len(effects)
    names = [f"p{i:03}" for i in range(count)]
    base = np.broadcast_to(np.asarray(baseline, dtype=np.float64), (count,))
    columns = {
        "model": "attention",
        "family": "heads",
        "edit_id": f"id of {label} {more.get('dose')}",
        "label": label,
        "layer": int(label[1]) if label[1].isdigit() else 0,
        "size": 1 + label.count(" + "),
        "dose": np.nan,
        "method": '{"kind":"zero"}',
        "positions": None,
        "control_of": None,
        "round": 0,
        "prompt_id": names,
        "group": names if groups is None else list(groups),
        "split": "all",
        "metric": "loss",
        "value": base + np.asarray(effects, dtype=np.float64),
        "baseline": base,
        "n_scored": 5,
        **more,
    }
    rows = pd.DataFrame(columns, index=range(count))
    return rows.assign(effect=rows["value"] - rows["baseline"])


def together(*edits: pd.DataFrame) -> pd.DataFrame:
    # Columns of nothing have no type of their own, and pandas warns of what it would make of them.
    return pd.concat([edit.astype({"control_of": object, "positions": object}) for edit in edits], ignore_index=True)


def noise(count: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, size=count)
