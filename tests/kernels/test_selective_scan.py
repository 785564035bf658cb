"""The fused CPU scan computes the recurrence that is written here again, in float64, one step at a time."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from tests.kernels.random_forms import mamba
from workbench import kernels
from workbench.kernels.diagonal_decay import selective
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.native import selective_scan as cpu

compiled = pytest.mark.skipif(cpu.library() is None, reason="no C++ compiler: the fused scan was not built")
few = settings(max_examples=20, deadline=None)
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


# Below, at and above the chunk of 32 steps, the block of 16 channels, the spans of 64 and 256 and 16 states at a time.
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 32, 16, 16), (2, 33, 17, 17), (3, 70, 40, 64), (1, 40, 5, 27), (2, 35, 270, 3)]
)
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


@compiled
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    ours = [t.requires_grad_() for t in inputs(2, 40, 600, 5)]
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y, final = cpu.selective_scan(*ours)
            results.append((y, final, *torch.autograd.grad(y.square().sum(), ours)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def forms(seed: int, time: int, heads: int, state: int, groups: int, write: str, decays: str) -> DiagonalDecay:
    """Float64; `groups` of queries and keys, decays from none to resets."""
    torch.manual_seed(seed)
    step = torch.rand(2, time, heads).double() * {"mild": 1.0, "none": 0.0, "harsh": 50.0, "resets": 1.0}[decays]
    if decays == "resets":
        step[torch.rand(2, time, heads) < 0.2] = torch.inf
    written = {"its step": step.clamp(max=2), "apart": torch.randn(2, time, heads).double(), "none": None}[write]
    return DiagonalDecay(
        q=torch.randn(2, time, groups, state).double(),
        k=torch.randn(2, time, groups, state).double(),
        v=torch.randn(2, time, heads, 1).double(),
        log_decay=-step[..., None],
        rate=torch.rand(heads, state).double() + 0.01,
        write=written,
    )


def narrowed(form: DiagonalDecay, dtype: torch.dtype = torch.float32) -> DiagonalDecay:
    return replace(form, **{name: x.to(dtype) for name, x in vars(form).items() if x is not None})


def off(ours: Tensor, oracle: Tensor) -> float:
    """Largest error over the largest value."""
    return (
        float((ours.double() - oracle).detach().abs().max() / (oracle.abs().max() + 1e-30)) if oracle.numel() else 0.0
    )


@compiled
@few
@given(
    some.integers(0, 2**32), some.sampled_from([0, 1, 31, 65]), some.sampled_from([(1, 1), (6, 3), (17, 1), (66, 2)]),
    some.sampled_from([1, 4, 21]), some.sampled_from(["its step", "apart", "none"]),
    some.sampled_from(["mild", "none", "harsh", "resets"]), some.booleans(),
)  # fmt: skip
def test_forms_match_the_reference_and_so_do_their_gradients(
    seed: int, time: int, layout: tuple[int, int], state: int, write: str, decays: str, started: bool
) -> None:
    wide = forms(seed, time, layout[0], state, layout[1], write, decays)
    form, start = narrowed(wide), torch.randn(2, layout[0], state, 1) if started else None
    assert selective.available(form, start)
    operands = [x.requires_grad_() for x in vars(form).values() if x is not None]
    oracles = [x.requires_grad_() for x in vars(wide).values() if x is not None]
    z, final = selective.forward(form, start)
    expected, last = kernels.forward(wide, None if start is None else start.double(), backend="reference")
    assert z.shape == expected.shape and off(z, expected.detach()) < 3e-6
    assert final.shape == last.shape and off(final, last.detach()) < 3e-6
    if time and decays != "resets":  # the reference's own derivative at -inf is NaN
        weights = torch.randn_like(expected)
        got = torch.autograd.grad((z * weights.float()).sum() + final.sum(), operands)
        wanted = torch.autograd.grad((expected * weights).sum() + last.sum(), oracles)
        assert all(off(a, b) < 1e-5 for a, b in zip(got, wanted, strict=True))


@compiled
def test_gradients_at_a_reset_are_finite_and_those_of_a_very_strong_decay() -> None:
    wide = forms(0, 40, 5, 4, 1, "apart", "resets")
    strong = replace(wide, log_decay=wide.log_decay.clamp(min=-1e6))
    gradients = []
    for form, run in ((narrowed(wide), selective.forward), (strong, lambda form: kernels.iterate(form))):
        operands = [x.requires_grad_() for x in vars(form).values() if x is not None]
        gradients.append(torch.autograd.grad(run(form)[0].square().sum(), operands))
    assert all(off(a, b) < 1e-5 for a, b in zip(*gradients, strict=True))


@compiled
@few
@given(some.integers(0, 2**32), some.sets(some.integers(0, 69), min_size=1), some.sampled_from([1, 3]), some.booleans())
def test_states_at_chosen_steps_are_those_the_reference_shows(
    seed: int, steps: set[int], groups: int, started: bool
) -> None:
    wide = forms(seed, 70, 18, 5, groups, "apart", "mild")
    start = torch.randn(2, 18, 5, 1) if started else None
    shown: dict[int, Tensor] = {}
    kernels.iterate(wide, None if start is None else start.double(), lambda t, h: shown.__setitem__(t, h.clone()))
    at = sorted(steps)
    chosen = selective.states(narrowed(wide), at, start)
    assert chosen.shape == (2, len(at), 18, 5, 1)
    assert off(chosen, torch.stack([shown[t] for t in at], 1)) < 3e-6


@compiled
def test_steps_that_are_not_in_order_or_not_in_the_run_are_refused() -> None:
    form = mamba(5, torch.float32)
    for steps in ([3, 1], [1, 1], [-1], [5]):
        with pytest.raises(ValueError, match="steps go up from 0 to 4"):
            selective.states(form, steps)
    assert selective.states(form, []).shape == (2, 0, 6, 5, 1)


@compiled
def test_strided_and_expanded_operands_are_read_where_they_lie() -> None:
    x, dt, rate, b, c, h = inputs(2, 40, 20, 5)
    plain = cpu.selective_scan(x, dt, rate, b, c, h)
    beside = torch.cat([x, dt, b, c], dim=-1)  # as projections leave them
    xs, dts, bs, cs = beside.split([20, 20, 5, 5], dim=-1)
    turned = [t.mT.contiguous().mT for t in (xs, dts, bs, cs)]
    for one in ((xs, dts, rate, bs, cs, h), (*turned[:2], rate.mT.contiguous().mT, *turned[2:], h)):
        assert all(torch.equal(a, b) for a, b in zip(plain, cpu.selective_scan(*one), strict=True))
    constant = [t[:1, :1].expand_as(t) for t in (x, dt, b, c)]
    got = cpu.selective_scan(*constant[:2], rate, *constant[2:], h)
    copied = [t.clone() for t in constant]
    assert all(torch.equal(a, b) for a, b in zip(got, cpu.selective_scan(*copied[:2], rate, *copied[2:], h)))  # noqa: B905


@compiled
def test_half_precision_operands_are_read_as_float32() -> None:
    wide = forms(0, 33, 18, 5, 1, "its step", "mild")
    for dtype, tolerance in ((torch.bfloat16, 8e-3), (torch.float16, 1e-3)):
        half = narrowed(wide, dtype)
        z, final = selective.forward(half)
        expected, last = kernels.forward(narrowed(half, torch.float64), backend="reference")
        assert z.dtype == dtype and final.dtype == torch.float32
        assert off(z, expected) < tolerance and off(final, last) < 3e-6


@compiled
def test_a_nan_reaches_its_own_channel_from_its_own_step_on_and_nothing_else() -> None:
    payload = torch.tensor(0x7FC12345, dtype=torch.int32).view(torch.float32)
    for place in (0, 1):
        operands = inputs(2, 40, 20, 5)
        operands[place][1, 35, 18] = payload
        y, final = cpu.selective_scan(*operands)
        expected = torch.zeros(2, 40, 20, dtype=torch.bool)
        expected[1, 35:, 18] = True
        assert torch.equal(y.isnan(), expected)
        assert torch.equal(final.isnan().all(-1), expected[:, -1])
    x, dt, rate, b, c, h = inputs(2, 40, 20, 5)
    rate[7, 2] = payload
    assert torch.equal(cpu.selective_scan(x, dt, rate, b, c, h)[1].isnan().any(0), rate.isnan())


@compiled
def test_decays_close_to_one_keep_a_state_over_a_hundred_thousand_steps() -> None:
    time = 100_000
    x, b = torch.zeros(1, time, 1), torch.zeros(1, time, 1)
    dt, rate, c = torch.full((1, time, 1), 1e-5), torch.ones(1, 1), torch.ones(1, time, 1)
    y, _ = cpu.selective_scan(x, dt, rate, b, c, torch.ones(1, 1, 1))
    expected = torch.exp(-1e-5 * torch.arange(1.0, time + 1, dtype=torch.float64))
    # Rounding 1 - 1e-5 to float32 is off by up to 6e-8 a step, whoever does it.
    assert (y[0, :, 0] / expected - 1).abs().max() < 6e-8 * time


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
