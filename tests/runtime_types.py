"""Check every annotated function of the package while the tests run, shapes included.

jaxtyping ships an import hook for this (``pytest --jaxtyping-packages``). It is adapted in two places. It asks Python's
path finder alone, which does not know the packages of an editable install that lie outside their parent's folder. And
it decorates every function, Triton kernels among them, whose source must stay as it is for Triton to compile it.
"""

import ast
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from jaxtyping import _import_hook as jaxtyping_hook

# The numeric tower of PEP 484: an int is welcome where a float is announced, as it is to mypy.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"


def _is_kernel(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).startswith("triton.") for decorator in node.decorator_list)


class _SparesKernels(jaxtyping_hook.JaxtypingTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return node if _is_kernel(node) else super().visit_FunctionDef(node)


class _EveryOtherFinder:
    """Looks where an import would look if the hook were not there."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if isinstance(finder, jaxtyping_hook._JaxtypingFinder):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None


def check_calls_of(package: str) -> jaxtyping_hook.ImportHookManager:
    """Check the calls of everything imported from ``package`` from now on; raises if some of it already is."""
    if package in sys.modules:
        raise RuntimeError(f"{package} was imported before its calls could be checked.")
    jaxtyping_hook.JaxtypingTransformer = _SparesKernels
    checker = jaxtyping_hook.Typechecker(CHECKER)
    hook = jaxtyping_hook._JaxtypingFinder([package], _EveryOtherFinder, checker)
    sys.meta_path.insert(0, hook)
    return jaxtyping_hook.ImportHookManager(hook)
