"""From blocks to one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from workbench.figures.canvas import causal_matrix
from workbench.figures.levels import palette
from workbench.figures.thumbnail import thumbnail_png
from workbench.figures.tokens import visible_token
from workbench.report.blocks import Block, MatrixPanel, MatrixView, Plot
from workbench.report.files import write_atomically

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True)
class Page:
    """One report.

    Attributes:
        title: the page's heading and window title.
        lead: one or two sentences: what was found, in words.
        blocks: the content in reading order.
        facts: name and value of what a reader needs to repeat it (command, versions, seeds).
    """

    title: str
    lead: str
    blocks: Sequence[Block]
    facts: Mapping[str, str] = field(default_factory=dict)


def write_page(path: Path, page: Page) -> None:
    """Render `page` and write it atomically. Raises InputError when the file cannot be written."""
    write_atomically(path, render_page(page))


def templates(package: str) -> jinja2.Environment:
    """The HTML templates of a package: what is filled in is escaped, and a name that nothing fills is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(page: Page) -> str:
    """The page as one HTML document with everything inside: styles, scripts, data, and Plotly where there is a plot."""
    from plotly.offline import get_plotlyjs

    environment = templates("workbench.report")
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": True}
    figures: dict[str, Any] = {}
    matrices: dict[str, Any] = {}
    shown = []
    for number, block in enumerate(page.blocks):
        entry: dict[str, Any] = {"kind": block.kind, "block": block, "id": f"b{number}"}
        if isinstance(block, Plot):
            figures[entry["id"]] = _plain(block.figure)
        elif isinstance(block, MatrixView):
            entry["tokens"] = [visible_token(token) for token in block.tokens]
            entry["breaks"] = ["\n" in token for token in block.tokens]
            entry["thumbnails"] = [_thumbnail(panel) for panel in block.panels]
            matrices[entry["id"]] = _matrix_data(block)
        shown.append(entry)
    static = files("workbench.report").joinpath("static")
    drawings = ("strip", "matrix") if matrices else ()
    script = "\n".join(static.joinpath(f"{part}.js").read_text("utf-8") for part in ("elements", *drawings, "page"))
    style = "\n".join(static.joinpath(f"{part}.css").read_text("utf-8") for part in ("page", *drawings))
    plotly = get_plotlyjs() if figures else ""
    return environment.get_template("page.html").render(
        page=page,
        blocks=shown,
        style=style,
        script=script,
        plotly=plotly,
        script_sources=" ".join(policy_hash(source) for source in (plotly, script) if source),
        data=inert_json({"figures": figures, "matrices": matrices, "palettes": _palettes() if matrices else {}}),
    )


def inert_json(data: Any) -> str:
    """JSON that cannot leave a ``<script>`` element: ``<``, ``>`` and ``&`` as escapes, ASCII only.

    Raises:
        ValueError: a number that JSON has no word for (NaN or an infinity).
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(figure: go.Figure) -> Any:
    # Plotly's own encoder: typed arrays become base64, which has a word for NaN.
    return json.loads(figure.to_json())


_NAMES = ("rowLabels", "rowNames", "columnLabels", "columnNames")


def _matrix_data(view: MatrixView) -> dict[str, Any]:
    """What ``static/page.js`` hands to ``static/matrix.js``; the names of rows and columns once for all panels."""
    names: dict[str, Any] = {}
    panels = []
    for panel in view.panels:
        drawn = causal_matrix(panel.pixels, view.tokens, name=view.name, signed=panel.signed, factor=view.factor)
        names = {name: drawn.header.pop(name) for name in _NAMES}
        panels.append(
            {
                "header": drawn.header,
                "levels": _base64(drawn.levels.levels.tobytes()),
                "values": None if drawn.values is None else _base64(drawn.values.astype("<f4").tobytes()),
                "caption": panel.caption,
                "signed": panel.signed,
            }
        )
    return {"panels": panels, "names": names, "factor": view.factor}


def _palettes() -> dict[str, dict[str, str]]:
    return {
        scale: {
            theme: _base64(palette(scale == "signed", dark=theme == "dark").tobytes()) for theme in ("light", "dark")
        }
        for scale in ("signed", "unsigned")
    }


def _thumbnail(panel: MatrixPanel) -> str:
    from workbench.figures.pooling import pool_causal

    png = thumbnail_png(pool_causal(panel.pixels, 64)[0], signed=panel.signed)
    return "data:image/png;base64," + _base64(png)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def policy_hash(source: str) -> str:
    """What a content security policy calls a script or style that stands in the page."""
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{_base64(digest)}'"
