"""The fused CPU scan computes the recurrence that is written here again, in float64, one step at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench.kernels.native import selective_scan as cpu

NAMES = ("x", "dt", "rate", "b", "c", "initial_state")


def inputs(batch: int, time: int, channels: int, states: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(batch, time, channels),
        torch.rand(batch, time, channels),
        4 * torch.rand(channels, states),
        torch.randn(batch, time, states),
        torch.randn(batch, time, states),
        torch.randn(batch, channels, states),
    ]


def recurrence(x, dt, rate, b, c, h):  # type: ignore[no-untyped-def]
    y = []
    for t in range(x.shape[1]):
        decay = torch.exp(-torch.einsum("bd,dn->bdn", dt[:, t], rate))
        h = decay * h + torch.einsum("bd,bd,bn->bdn", dt[:, t], x[:, t], b[:, t])
        y.append(torch.einsum("bdn,bn->bd", h, c[:, t]))
    return torch.stack(y, 1), h


# Below, at and above the chunk of 32 steps, the tile of 16 channels and the 16 lanes of states.
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 32, 16, 16), (2, 33, 17, 17), (3, 70, 40, 64), (1, 40, 5, 80)])
def test_outputs_and_every_gradient_match_the_recurrence(shape: tuple[int, int, int, int]) -> None:
    ours = [t.requires_grad_() for t in inputs(*shape)]
    theirs = [t.detach().double().requires_grad_() for t in ours]
    y, final = cpu.selective_scan(*ours)
    expected_y, expected_final = recurrence(*theirs)
    weight_y, weight_final = torch.randn_like(expected_y), torch.randn_like(expected_final)
    ((y * weight_y.float()).sum() + (final * weight_final.float()).sum()).backward()
    ((expected_y * weight_y).sum() + (expected_final * weight_final).sum()).backward()
    assert torch.allclose(y.double(), expected_y, atol=2e-5, rtol=1e-5)
    assert torch.allclose(final.double(), expected_final, atol=2e-5, rtol=1e-5)
    for name, a, b in zip(NAMES, ours, theirs, strict=True):
        assert (a.grad - b.grad).norm() < 2e-6 * b.grad.norm(), name


def test_the_fused_path_is_the_one_that_was_tested() -> None:
    if cpu.library() is None:
        pytest.skip("no C++ compiler: the fused scan was not built")
    y, _ = cpu.selective_scan(*[t.requires_grad_() for t in inputs(2, 9, 3, 5)])
    assert "FusedScan" in type(y.grad_fn).__name__


@pytest.mark.parametrize("threads", [1, 2])
def test_channels_are_split_between_threads_without_changing_the_result(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        ours = [t.requires_grad_() for t in inputs(1, 40, 50, 16)]
        y, _ = cpu.selective_scan(*ours)
        y.square().sum().backward()
        theirs = [t.detach().double().requires_grad_() for t in ours]
        recurrence(*theirs)[0].square().sum().backward()
        for name, a, b in zip(NAMES, ours, theirs, strict=True):
            assert (a.grad - b.grad).norm() < 2e-6 * b.grad.norm(), name
    finally:
        torch.set_num_threads(before)


def test_a_fast_decay_forgets_without_nan() -> None:
    x, dt, rate, b, c, h = inputs(1, 40, 4, 16)
    y, final = cpu.selective_scan(x, dt + 1, rate + 500, b, c, h)
    assert torch.isfinite(y).all() and torch.isfinite(final).all()
    alone = (dt + 1) * x * (b * c).sum(-1, keepdim=True)
    assert torch.allclose(y, alone, atol=1e-4)


def test_without_a_compiler_the_answer_is_the_same_and_one_line_says_so(tmp_path: Path) -> None:
    code = (
        "import torch; from workbench.kernels.native import selective_scan as cpu; torch.manual_seed(0);"
        "a = [torch.rand(s) for s in [(1, 5, 3), (1, 5, 3), (3, 4), (1, 5, 4), (1, 5, 4)]];"
        "y, _ = cpu.selective_scan(*a); r, _ = cpu.selective_scan_loop(*a);"
        "assert cpu.library() is None and torch.equal(y, r)"
    )
    environment = {**os.environ, "CXX": "/nowhere/g++", "WORKBENCH_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("fused CPU kernels not built") == 1


def test_two_processes_can_build_at_once(tmp_path: Path) -> None:
    code = "from workbench.kernels.native import selective_scan as cpu; assert cpu.library().scan_spans(1) == 1"
    if cpu.library() is None:
        pytest.skip("no C++ compiler: the fused scan was not built")
    environment = {**os.environ, "WORKBENCH_CACHE": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"]
