"""Pages of the site that nobody writes: the API, files of the repository that pages link to, the table of families."""

from __future__ import annotations

import ast
import os
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads this file by its path
from notebook_pages import notebook_pages

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "repository"
"""Where files of the repository lie in the site."""

ROOMS = {
    "workbench": ("Models, hooks, tasks, studies", ""),
    "kernels": ("Numerics of the canonical forms", "kernels"),
    "probes": ("Head finders, lenses, probes", "probes"),
    "saes": ("Sparse autoencoders and features", "saes"),
}
"""Title and folder of each room, in the order of the menu."""

INSIDE = re.compile(r"workbench\.(cli|studies\..*|zoo\.published|(probes|saes)\.replications\.rows)$")
"""Packages whose names are reached through another one, or by commands."""

LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
FAMILIES = re.compile(r"<!-- families:begin -->\n(.*?)<!-- families:end -->", re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add what is made: the API, pages that stand at the top of the repository, its files that pages link to."""
    readme = (ROOT / "README.md").read_text("utf-8")
    table = FAMILIES.search(readme)
    assert table is not None, "README.md has lost its table of families"
    made = {f"api/{name}.md": text for name, text in api_pages()}
    made["architecture.md"] = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    made["changelog.md"] = (ROOT / "CHANGELOG.md").read_text("utf-8")
    made["families.md"] = f"# Families\n\n{FAMILIES_INTRODUCED}\n\n{table[1]}"
    for path, content in [*made.items(), *notebook_pages(ROOT / "notebooks")]:
        files.append(File.generated(config, path, content=content))
    for page in list(files.documentation_pages()):
        for path in linked(page.content_string, page.src_uri):
            address = f"{SOURCE}/{path}.md"
            if files.get_file_from_path(address) is None:
                files.append(File.generated(config, address, content=shown(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to files of the repository to their pages in the site."""

    def led(found: re.Match[str]) -> str:
        path = of_repository(found["target"], page.file.src_uri)
        if path is None:
            return found[0]
        here = posixpath.dirname(page.file.src_uri)
        return f"[{found['text']}]({posixpath.relpath(f'{SOURCE}/{path}.md', here or '.')}{found['anchor'] or ''})"

    return LINK.sub(led, markdown)


FAMILIES_INTRODUCED = """What can be asked of every family, tried on small random models by `make families`. The matrix
of implicit attention times the values gives the layer's own output, up to the largest relative error that
`make exactness` measured; [How exact every family is](exactness.md) has every situation, and the logits. LSTM, GRU and
sLSTM cells are exact *given the gates*, which their own past has set. Head statistics are streamed or read in tiles: no
matrix is held either way. Layers one behind the other (`nn.LSTM` and its kin) have no residual stream for a tuned lens.
A family of your own is [one file](adding-a-family.md)."""


def linked(text: str, page: str) -> Iterator[str]:
    """Files of the repository that a page links to."""
    for found in LINK.finditer(text):
        path = of_repository(found["target"], page)
        if path is not None:
            yield path


def of_repository(target: str, page: str) -> str | None:
    """The path in the repository of a link that leaves docs/, or None for any other link.

    Pages that stand at the top of the repository link to ``docs/x.md`` and mean the site's own.
    """
    if "://" in target or target.startswith("mailto:"):
        return None
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return path if not path.startswith(("docs/", "..")) and (ROOT / path).is_file() else None


def shown(path: str) -> str:
    """A page that shows a file: Markdown as it is, anything else as a block of text."""
    text = (ROOT / path).read_text("utf-8")
    if path.endswith(".md"):
        return text
    language = {".yaml": "yaml", ".py": "python", ".toml": "toml"}.get(Path(path).suffix, "text")
    return f"# `{path}`\n\n``````{language}\n{text}\n``````\n"


# ---- the API


def api_pages() -> Iterator[tuple[str, str]]:
    """Name and text of each page: one a package with public names, and one that lists them."""
    index = ["# API", "", "Everything public, from its docstrings. Shapes stand in the types.", ""]
    for room, (title, folder) in ROOMS.items():
        index += [f"## {title}", ""]
        for package, summary in packages(room, ROOT / (folder or room)):
            index.append(f"* [`{package}`]({package}.md): {summary}")
            yield package, f"# `{package}`\n\n::: {package}\n"
        index.append("")
    yield "index", "\n".join(index)


def packages(room: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Packages of a room that name what is public, with the first sentence of their docstring."""
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        if "__init__.py" not in names:
            continue
        tree = ast.parse((Path(path) / "__init__.py").read_text("utf-8"))
        parts = Path(path).relative_to(folder).parts
        package = ".".join(["workbench", *([] if room == "workbench" else [room]), *parts])
        if names_its_public(tree) and not INSIDE.match(package):
            yield package, (ast.get_docstring(tree) or "").split("\n")[0]


def names_its_public(package: ast.Module) -> bool:
    """Whether a package says which of its names are for its users."""
    return any(
        isinstance(name, ast.Name) and name.id in ("__all__", "PUBLIC")
        for line in package.body
        if isinstance(line, ast.Assign | ast.AnnAssign)
        for name in (line.targets if isinstance(line, ast.Assign) else [line.target])
    )
