"""While the tests run, a call whose arguments break their announced types or shapes is an error."""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime_types import check_calls_of

from .tree import ROOMS, ROOT

PLAIN = """
import torch
from jaxtyping import Float
from torch import Tensor

def scaled(x: Float[Tensor, "batch time"], by: Float[Tensor, " time"], factor: float = 1.0) -> Tensor:
    return x * by * factor
"""

KERNEL = """
import torch
import triton
import triton.language as tl

@triton.jit
def _next(x):
    return x + 1

@triton.jit
def _kernel(source, target, n: tl.constexpr):
    at = tl.arange(0, n)
    tl.store(target + at, _next(tl.load(source + at)))

def following(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    _kernel[(1,)](x, out, x.numel())
    return out
"""


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "typed_sample"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    hook = check_calls_of("typed_sample")
    yield folder
    hook.uninstall()
    for name in [name for name in sys.modules if name.startswith("typed_sample")]:
        del sys.modules[name]


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_checked(room: str) -> None:
    loader = importlib.import_module(room).__spec__.loader
    assert type(loader).__name__ == "_JaxtypingLoader"


def test_shape_that_breaks_the_announced_one_is_refused(sample: Path) -> None:
    import torch
    from jaxtyping import TypeCheckError

    (sample / "plain.py").write_text(PLAIN)
    scaled = importlib.import_module("typed_sample.plain").scaled
    assert scaled(torch.ones(2, 3), torch.ones(3), 2).sum() == 12  # an int where a float is announced
    with pytest.raises(TypeCheckError, match="by"):
        scaled(torch.ones(2, 3), torch.ones(2))


def test_triton_kernels_are_left_as_written(tmp_path: Path) -> None:
    # In a process of its own: TRITON_INTERPRET is read when triton is first imported.
    pytest.importorskip("triton")
    folder = tmp_path / "typed_sample"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "kernel.py").write_text(KERNEL)
    code = (
        "from tests.runtime_types import check_calls_of; check_calls_of('typed_sample'); import torch; "
        "from typed_sample.kernel import following; print(following(torch.zeros(16)).sum().item())"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, "TRITON_INTERPRET": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.strip() == "16.0", finished.stderr
