"""Beside the data of each Plotly figure its picture, for viewers that run no scripts."""

from __future__ import annotations

import base64
import io
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nbformat import NotebookNode

PLOTLY = "application/vnd.plotly.v1+json"
PNG = "image/png"
WIDTH, HEIGHT = 760, 420  # of figures that do not say
SCALE = 1.5
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowser(Exception):
    """No Chromium is installed; the message says what to do."""


@contextmanager
def browser() -> Iterator[None]:
    """Keep one headless Chromium open for all pictures of a ``with`` block; opening it takes seconds.

    Raises:
        NoBrowser: none is installed.
    """
    if not any(shutil.which(name) for name in BROWSERS):
        raise NoBrowser(
            f"Pictures of figures need Chromium or Chrome on the PATH ({', '.join(BROWSERS)}); install one, or give "
            "--no-pictures to run the notebooks without writing them."
        )
    import kaleido

    # What the pipe to a browser that is being closed says last is no message, and would be reported as an error.
    logging.getLogger("choreographer").setLevel(logging.CRITICAL)
    kaleido.start_sync_server(silence_warnings=True)
    try:
        yield
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


def add_pictures(content: NotebookNode) -> None:
    """Add a PNG to every output that holds a Plotly figure, within `browser`."""
    for cell in content.cells:
        for output in cell.get("outputs", ()):
            if (figure := output.get("data", {}).get(PLOTLY)) is not None:
                output["data"][PNG] = base64.b64encode(_picture(figure)).decode("ascii")


def _picture(figure: dict[str, Any]) -> bytes:
    import kaleido

    layout = figure.get("layout", {})
    # On the page a figure has the page's background; a picture of its own is read on dark pages, too.
    shown = {"data": figure["data"], "layout": {**layout, "paper_bgcolor": "white"}}
    size = {"width": layout.get("width", WIDTH), "height": layout.get("height", HEIGHT), "scale": SCALE}
    drawn: bytes = kaleido.calc_fig_sync(shown, opts={"format": "png", **size})
    return _smaller(drawn)


def _smaller(picture: bytes) -> bytes:
    """The same picture in 256 colours: a third of the bytes, and no difference to be seen in a plot."""
    from PIL import Image

    written = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        # By coverage, not by frequency: a colour bar has few pixels of each of its colours.
        palette = image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(written, "PNG", optimize=True)
    return written.getvalue()
