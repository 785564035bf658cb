"""Judgements to look at."""

from __future__ import annotations

import plotly.graph_objects as go

from workbench.figures.bars import Bar, ablation_bars
from workbench.saes.judging.judgement import Judgement

PANELS = {"loss_recovered": "Loss recovered", "explained_variance": "Explained variance", "kl": "KL (nats a token)"}


def judgement_figure(judgement: Judgement, *, level: float = 0.95, seed: int = 0) -> go.Figure:
    """Bars of loss recovered, explained variance and KL: a colour an autoencoder, a baseline or mean ablation."""
    table = judgement.table(level=level, seed=seed)
    # Zero ablation is 0 of the first panel, the model itself its 1, and both would dwarf the rest of the others.
    shown = table[~table["autoencoder"].isin(["zero ablation", "model"])]
    bars = [
        Bar(title, judgement.place, row["autoencoder"], row[name], row[f"{name}_low"], row[f"{name}_high"])
        for name, title in PANELS.items()
        for _, row in shown.iterrows()
    ]
    return ablation_bars(bars)
