"""``import workbench as wb`` reaches every public name and costs nothing."""

import ast
import importlib
import subprocess
import sys

import pytest

import workbench

from .tree import ROOMS

HEAVY = (
    "torch",
    "numpy",
    "pandas",
    "plotly",
    "streamlit",
    "transformers",
    "transformer_lens",
    "sae_lens",
    "nnsight",
    "pydantic",
    "typer",
    "rich",
)


def test_importing_workbench_imports_nothing_else() -> None:
    code = f"import sys, workbench; print([name for name in {HEAVY!r} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("name", workbench.PUBLIC)
def test_public_name_is_what_its_module_defines(name: str) -> None:
    module = importlib.import_module(workbench.PUBLIC[name])
    expected = module if module.__name__ == f"workbench.{name}" else getattr(module, name)
    assert getattr(workbench, name) is expected


def test_public_names_are_listed() -> None:
    assert set(workbench.PUBLIC) <= set(dir(workbench))


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no public name 'laod'; it has .*kernels"):
        _ = workbench.laod


def test_type_checker_sees_the_same_names() -> None:
    tree = ast.parse((ROOMS["workbench"] / "__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "Only 'import X as X' is re-exported under mypy --strict."
            is_module = node.module == "workbench"
            seen[alias.name] = f"workbench.{alias.name}" if is_module else node.module
    assert seen == workbench.PUBLIC
