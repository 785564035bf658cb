"""Tuned lenses against logit lenses on real text: ``python -m tests.probes.lenses.every_member FOLDER [MODEL ...]``.

FOLDER holds speeches as ``workbench.zoo.recipe.corpus.prepare`` leaves them; every twentieth is kept for evaluation.
Every member of the zoo is measured unless models are named.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

import workbench as wb
from workbench.model import HookedModel
from workbench.probes.lenses import LogitLens, TunedLensOptions, evaluate_lenses, text_windows, train_tuned_lens
from workbench.zoo import available
from workbench.zoo.recipe.corpus import documents


def measure(
    model: HookedModel, train: list[str], held_out: list[str], options: TunedLensOptions, rows: int, length: int
) -> pd.DataFrame:
    """`evaluate_lenses` of the logit lens and of a tuned lens that is trained on `train`, on rows of `held_out`."""
    lens = train_tuned_lens(model, text_windows(model, train, length), options).lens
    windows = text_windows(model, held_out, length)
    spread = windows[:: max(1, len(windows) // rows)][:rows]
    return evaluate_lenses([LogitLens(lens.unembedding), lens], spread)


def main() -> None:
    """Print a table, a model a row: KL of logit lens and tuned lens at every depth but the last, in nats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--test-rows", type=int, default=24)
    given = parser.parse_args()
    train, held_out = documents(given.folder)
    options = TunedLensOptions(steps=given.steps, rows=given.rows)
    for name in given.models or [f"zoo:{member}" for member in available()]:
        started = time.process_time()
        table = measure(wb.load(name), train[-24:], held_out, options, given.test_rows, given.length)
        kl = table.pivot(index="depth", columns="lens", values="kl")[:-1]
        cells = " ".join(f"{row['logit lens']:7.3f} > {row['tuned lens']:6.3f}" for _, row in kl.iterrows())
        below = bool((kl["tuned lens"] < kl["logit lens"]).all())
        print(
            f"{name:16} {cells}  {'below at all' if below else 'NOT BELOW'}  {time.process_time() - started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
