"""Notebooks as pages of the site: their text, code and outputs, with pictures in the place of live plots."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTRODUCED = """Analyses, each from a question to an answer. They lie in `notebooks/` with their outputs, and
`make notebooks` runs them. Change the line `MODEL = ...` and run them on a model of yours."""

LINK = re.compile(r"\]\(([\w-]+)\.ipynb\)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def notebook_pages(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """Path in the site and content of everything: a page for each notebook, its pictures, and the list of them."""
    index = ["# Notebooks", "", "Ten analyses, each from a question to an answer. They lie in `notebooks/` with their"]
    index += [
        "outputs; `make notebooks` runs them. Change the line `MODEL = ...` and run them on a model of yours.",
        "",
    ]
    for file in sorted(folder.glob("*.ipynb")):
        cells = json.loads(file.read_text("utf-8"))["cells"]
        pictures: list[bytes] = []
        text = "\n\n".join(part for cell in cells for part in _parts(cell, file.stem, pictures))
        yield f"notebooks/{file.stem}.md", text
        for number, picture in enumerate(pictures):
            yield f"notebooks/{file.stem}-{number}.png", picture
        title = text.split("\n")[0].removeprefix("# ")
        asked = re.search(r"\*\*Question\.\*\*\s*(.+?)(?:\n\n|$)", text, re.DOTALL)
        index.append(f"* [{title}]({file.stem}.md): {' '.join(asked[1].split()) if asked else ''}")
    yield "notebooks/index.md", "\n".join(index) + "\n"


def _parts(cell: dict[str, Any], stem: str, pictures: list[bytes]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield LINK.sub(r"](\1.md)", source)
        return
    if source.strip():
        yield f"```python\n{source}\n```"
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![{_described(data)}]({stem}-{len(pictures)}.png)"
            pictures.append(base64.b64decode("".join(data["image/png"])))
        elif "text/html" in data:
            # One block of raw HTML: a blank line would end it for Markdown.
            yield re.sub(r"\n\s*\n", "\n", "<div>\n" + "".join(data["text/html"]).strip() + "\n</div>")
        else:
            said = "".join(data.get("text/plain", output.get("text", "")))
            if said.strip():
                yield f"```text\n{COLOURS.sub('', said).rstrip()}\n```"


def _described(data: dict[str, Any]) -> str:
    """The title of a plot, as its text alternative."""
    title = data.get("application/vnd.plotly.v1+json", {}).get("layout", {}).get("title", {})
    text = title.get("text", "") if isinstance(title, dict) else str(title)
    return re.sub(r"<[^>]+>|[\[\]\n]", " ", text).strip() or "plot"
