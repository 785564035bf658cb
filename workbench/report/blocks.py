"""What a page is made of. Every string is plain text: the template escapes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float


@dataclass(frozen=True)
class Heading:
    """A section heading; `level` 2 or 3 (1 is the page's own)."""

    kind: ClassVar[str] = "heading"
    text: str
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph set apart: what the reader must not miss."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Code:
    """Commands or code, as typed."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Table:
    """A table of text cells; columns of numbers are named in `numeric` and set flush right."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: frozenset[int] = field(default=frozenset())


@dataclass(frozen=True)
class Plot:
    """A Plotly figure with its caption; `shape` sets the box it is drawn in."""

    kind: ClassVar[str] = "plot"
    figure: go.Figure
    caption: str
    shape: Literal["square", "wide", "low"] = "wide"


@dataclass(frozen=True)
class MatrixPanel:
    """One matrix of a `MatrixView`: a name, a sentence, the pixels (not those above the diagonal), the colours."""

    label: str
    caption: str
    pixels: Float[np.ndarray, "rows columns"]
    signed: bool


@dataclass(frozen=True)
class MatrixView:
    """Token x token maps of one text behind a row of thumbnails, with the text as a strip that shows one row at a time.

    Attributes:
        tokens: text of every token, unescaped.
        panels: what the thumbnails choose from; the first is shown at the start.
        factor: tokens a pixel side stands for (`pool_causal`).
        name: what a value is, for colour bars and read-outs.
    """

    kind: ClassVar[str] = "matrix"
    tokens: Sequence[str]
    panels: Sequence[MatrixPanel]
    factor: int = 1
    name: str = "weight"


Block: TypeAlias = Heading | Paragraph | Note | Code | Table | Plot | MatrixView
