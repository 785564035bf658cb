"""How tokens read each other: one head's matrix, a token's row and column, what an entry writes, statistics."""

from workbench.app.views.attention.choosing import HeadChoice, Outline, Place, best_head, outline, same_depth
from workbench.app.views.attention.head import HeadView, Link, head_line, head_view, head_window
from workbench.app.views.attention.path import ValuePath, value_path
from workbench.app.views.attention.reading import Reading, read_mixer, read_stream
from workbench.app.views.attention.scripts import head_code, path_code, statistics_code
from workbench.app.views.attention.spans import matching, token_spans
from workbench.app.views.attention.statistics import HeadStatistics, head_statistics

__all__ = [
    "HeadChoice",
    "HeadStatistics",
    "HeadView",
    "Link",
    "Outline",
    "Place",
    "Reading",
    "ValuePath",
    "best_head",
    "head_code",
    "head_line",
    "head_statistics",
    "head_view",
    "head_window",
    "matching",
    "outline",
    "path_code",
    "read_mixer",
    "read_stream",
    "same_depth",
    "statistics_code",
    "token_spans",
    "value_path",
]
