"""Plotly figures from plain arrays: nothing here knows a model, a family or a hook.

Every label is escaped on its way into a figure, axes are numeric with tick text (category axes merge repeated tokens),
and colour means the same everywhere: signed values run from blue through nothing to vermillion with symmetric limits,
unsigned values are Viridis with zero at the background's end.
"""

from workbench.figures.bars import Bar, ablation_bars, error_bars
from workbench.figures.maps import attention_map, plain_layout
from workbench.figures.pooling import pool_causal
from workbench.figures.scores import score_map
from workbench.figures.thumbnail import thumbnail_png
from workbench.figures.titles import plain_figure, titled
from workbench.figures.tokens import token_label, visible_token

__all__ = [
    "Bar",
    "ablation_bars",
    "attention_map",
    "error_bars",
    "plain_figure",
    "plain_layout",
    "pool_causal",
    "score_map",
    "thumbnail_png",
    "titled",
    "token_label",
    "visible_token",
]
