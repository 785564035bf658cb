"""Imports only go down: kernels < workbench < probes < saes < app."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .tree import ROOMS, files, module_name

ORDER = list(ROOMS)

# These put rooms together: the public names, the command line and the study runner. They may import upwards, but inside
# a function (or for the type checker alone), so that importing them stays cheap and no circle closes.
MAY_REACH_UP = ("workbench", "workbench.cli", "workbench.studies")


def room_of(module: str) -> str | None:
    inside = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    return max(inside, key=len, default=None)


def imports(path: Path, module: str) -> Iterator[tuple[int, str, bool]]:
    """Yield line, imported module and whether the import waits for a call, for each import of ``path``."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text("utf-8")), False)]
    while pending:
        node, waits = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name, waits) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # "from workbench import saes" names a room as surely as "import workbench.saes" does.
            yield from ((node.lineno, f"{source}.{name.name}", waits) for name in node.names)
        waits = waits or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        waits = waits or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        pending.extend((child, waits) for child in ast.iter_child_nodes(node))


def climbs(path: Path, module: str) -> list[str]:
    """Return one sentence for every import that goes up."""
    room = room_of(module)
    assert room is not None
    excused = module == "workbench" or any(
        module == name or module.startswith(f"{name}.") for name in MAY_REACH_UP if name != "workbench"
    )
    found = []
    for line, imported, waits in imports(path, module):
        target = room_of(imported)
        if target is None or ORDER.index(target) <= ORDER.index(room) or (excused and waits):
            continue
        found.append(f"{path.name}:{line}: {module} imports {imported}, which is above it.")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_climbs(room: str) -> None:
    sources = [path for path in files(room) if path.suffix == ".py"]
    assert sources
    assert [sentence for path in sources for sentence in climbs(path, module_name(room, path))] == []


@pytest.mark.parametrize(
    ("module", "source", "refused"),
    [
        ("workbench.kernels.delta", "from workbench.model import HookedModel", True),
        ("workbench.kernels.delta", "from ..model import HookedModel", True),
        ("workbench.kernels.delta", "def f():\n    import workbench.model", True),
        ("workbench.kernels.delta", "from .scalar_decay import chunked\nimport torch", False),
        ("workbench.model", "from workbench import probes", True),
        ("workbench.model", "def f():\n    from workbench.probes.heads import induction", True),
        ("workbench.model", "from workbench.kernels import dispatch", False),
        ("workbench.probes.linear", "from workbench.saes import training", True),
        ("workbench.saes.training", "from workbench.probes import linear", False),
        ("workbench.cli.serve", "import workbench.app", True),
        ("workbench.cli.serve", "def serve():\n    import workbench.app", False),
        ("workbench.studies.plan", "if TYPE_CHECKING:\n    from workbench.saes import training", False),
    ],
)
def test_climbing_import_is_seen(tmp_path: Path, module: str, source: str, refused: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert bool(climbs(path, module)) is refused


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_a_drawer(room: str) -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [path for path in files(room) if path.stem in drawers] == []
