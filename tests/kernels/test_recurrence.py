"""The compiled recurrence against the sequential reference in float64: every decay, every delta rule, every layout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.kernels.random_forms import RECURRENT, operands, relative_error, states
from workbench import kernels
from workbench.kernels import Delta, DiagonalDecay, RecurrentForm, ScalarDecay
from workbench.kernels.native import recurrence

pytestmark = pytest.mark.skipif(recurrence.library() is None, reason="The compiled loops need a C++ compiler.")
COMPILED = [kind for kind in RECURRENT if not kind.startswith("toeplitz")]


def exactly(form: RecurrentForm) -> RecurrentForm:
    return replace(form, **{name: operand.detach().double() for name, operand in operands(form).items()})


@pytest.mark.parametrize("time", [1, 15, 16, 17, 70])
@pytest.mark.parametrize("kind", COMPILED)
def test_outputs_states_and_gradients_are_those_of_the_reference(kind: str, time: int) -> None:
    form = RECURRENT[kind](time, torch.float32)
    start = states(form).float()
    names = [name for name, operand in operands(form).items() if operand.is_floating_point()]
    results, gradients = [], []
    for given_form, backend in ((form, "cpu"), (exactly(form), "reference")):
        ours = {name: getattr(given_form, name).clone().requires_grad_() for name in names}
        first = start.to(given_form.v.dtype).clone().requires_grad_()
        outputs, final = kernels.forward(replace(given_form, **ours), first, backend=backend)
        assert final is not None
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(x.shape, generator=generator).to(x.dtype) for x in (outputs, final)]
        total = (outputs * weights[0]).sum() + (final * weights[1]).sum()
        results.append((outputs, final))
        gradients.append(torch.autograd.grad(total, [first, *ours.values()]))
    for got, expected in zip(*results, strict=True):
        assert relative_error(got, expected) < 1e-6
    for name, got, expected in zip(["state", *names], *gradients, strict=True):
        assert relative_error(got, expected) < 5e-6, name


def random_form(
    kind: str, time: int, heads: int, groups: int, key: int, value: int, strength: float, seed: int
) -> RecurrentForm:
    """Decays from 1 to exp(-strength) a step, some exact resets, keys that are nearly collinear, zero rows."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    channels = key if "channel" in kind else 1
    log_decay = -strength * torch.rand(2, time, heads, channels, generator=generator)
    log_decay[torch.rand(log_decay.shape, generator=generator) < 0.02] = -torch.inf
    log_decay[torch.rand(log_decay.shape, generator=generator) < 0.1] = 0.0
    k = normalize(normal(2, 1, groups, key) + 0.05 * normal(2, time, groups, key), dim=-1)
    k[:, time // 2] = 0.0
    q, v = normal(2, time, groups, key), normal(2, time, heads, value)
    write = 2 * torch.rand(2, time, heads, generator=generator)
    if kind.startswith("delta"):
        return Delta(q=q, k=k, v=v, log_decay=log_decay, write=write)
    if kind.startswith("apart"):
        probe, erase = normalize(normal(2, time, heads, key), dim=-1), normalize(normal(2, time, 1, key), dim=-1)
        return Delta(q=q, k=k, v=v, log_decay=log_decay, probe=probe, erase=erase)
    if kind == "channel":
        return DiagonalDecay(q=q, k=k, v=v, log_decay=log_decay, write=write)
    return ScalarDecay(q=q, k=k, v=v, log_decay=log_decay[..., 0])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["scalar", "channel", "delta", "delta, channel", "apart", "apart, channel"]),
    time=st.integers(1, 40),
    groups=st.sampled_from([1, 2, 4]),
    key=st.sampled_from([1, 3, 16, 17, 33]),
    value=st.sampled_from([1, 2, 16, 31, 33, 70]),
    strength=st.sampled_from([0.0, 0.01, 1.0, 50.0]),
    seed=st.integers(0, 10**6),
)
def test_any_shape_and_any_decay(
    kind: str, time: int, groups: int, key: int, value: int, strength: float, seed: int
) -> None:
    form = random_form(kind, time, 4, groups, key, value, strength, seed)
    start = torch.randn(2, 4, key, value, generator=torch.Generator().manual_seed(seed))
    outputs, final = kernels.forward(form, start, backend="cpu")
    expected, last = kernels.forward(exactly(form), start.double(), backend="reference")
    assert final is not None and last is not None
    assert outputs.shape == expected.shape
    for got, exact in ((outputs, expected), (final, last)):
        assert (got.double() - exact).norm() <= 3e-6 * exact.norm() + 1e-30


@pytest.mark.parametrize("kind", ["scalar", "channel", "delta", "apart, channel"])
def test_two_threads_compute_bit_for_bit_what_one_does(kind: str) -> None:
    form = random_form(kind, 30, 4, 2, 20, 70, 1.0, 3)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(kernels.forward(form, backend="cpu"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in found[1:] for x, y in zip(found[0], other, strict=True))


@pytest.mark.parametrize("change", ["expanded", "transposed", "reversed"])
def test_operands_may_lie_in_memory_as_they_like(change: str) -> None:
    form = random_form("delta, channel", 20, 4, 4, 16, 16, 1.0, 4)

    def laid_out(x: Tensor) -> Tensor:
        if change == "expanded":
            return x[:1].expand(2, *x.shape[1:])
        return x.mT.contiguous().mT if change == "transposed" and x.ndim == 4 else x.flip(1)[:, ::1].flip(1)

    moved = replace(form, **{name: laid_out(operand) for name, operand in operands(form).items()})
    assert change == "reversed" or not moved.k.is_contiguous()
    expected, _ = kernels.forward(exactly(moved), backend="reference")
    assert relative_error(kernels.forward(moved, backend="cpu")[0], expected) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["scalar decay", "diagonal decay", "delta"])
def test_half_precision_operands_are_computed_in_float32(kind: str, dtype: torch.dtype) -> None:
    form = RECURRENT[kind](40, dtype)
    outputs, final = kernels.forward(form, backend="cpu")
    expected, last = kernels.forward(exactly(form), backend="reference")
    assert outputs.dtype == dtype and final is not None and final.dtype == torch.float32
    assert last is not None
    assert relative_error(final, last) < 1e-6
    assert relative_error(outputs, expected) < 2 * torch.finfo(dtype).eps


def test_a_nan_stays_in_its_column_and_in_its_future() -> None:
    form = random_form("delta", 20, 4, 4, 8, 20, 1.0, 5)
    form.v[0, 7, 1, 3] = torch.nan
    outputs, final = kernels.forward(form, backend="cpu")
    expected = torch.zeros_like(outputs, dtype=torch.bool)
    expected[0, 7:, 1, 3] = True
    reset = form.log_decay[0, :, 1, 0].isinf()  # NaN times 0 is NaN: a reset does not heal it, in the reference neither
    assert torch.equal(outputs.isnan(), expected), reset
    assert final is not None and torch.equal(final.isnan().any(-2), expected[:, -1])


def test_what_decays_below_every_float_is_zero_and_not_slow_or_nan() -> None:
    form = random_form("channel", 300, 4, 1, 16, 16, 0.0, 6)
    quiet = replace(form, log_decay=torch.full_like(form.log_decay, -1.0), v=form.v.clone())
    quiet.v[:, 1:] = 0.0
    outputs, final = kernels.forward(quiet, backend="cpu")
    assert torch.isfinite(outputs).all()
    assert final is not None and (final == 0).all()
    assert (torch.tensor([1e-39]) * 1.0).item() != 0.0  # the switch is put back


def test_a_long_sequence_is_as_exact_as_a_short_one() -> None:
    form = random_form("delta", 20_000, 4, 1, 4, 4, 0.01, 7)
    short = replace(form, **{name: x[:1, :, :1] for name, x in operands(form).items()})
    expected, _ = kernels.forward(exactly(short), backend="reference")
    assert relative_error(kernels.forward(short, backend="cpu")[0], expected) < 1e-5


def test_a_forked_child_computes_too() -> None:
    code = (
        "import os, sys, torch; from workbench import kernels; from workbench.kernels import ScalarDecay\n"
        "torch.set_num_threads(2)\n"
        "x = torch.ones(1, 64, 8, 64)\n"
        "form = ScalarDecay(q=x, k=x, v=x, log_decay=-x[..., 0])\n"
        "here = kernels.forward(form, backend='cpu')[0]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if torch.equal(kernels.forward(form, backend='cpu')[0], here) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, env=os.environ).returncode == 0


KEPT: dict[str, Callable[..., RecurrentForm]] = {kind: RECURRENT[kind] for kind in ("scalar decay", "delta")}


@pytest.mark.parametrize("kind", KEPT)
def test_states_before_chosen_steps_are_those_of_the_reference(kind: str) -> None:
    form = KEPT[kind](40, torch.float32)
    start = states(form).float()
    seen = {0: start.double()}
    kernels.iterate(exactly(form), start.double(), lambda step, state: seen.update({step + 1: state.clone()}))
    assert isinstance(form, ScalarDecay | Delta)
    log_decay = form.log_decay if isinstance(form, Delta) else form.log_decay[..., None]
    module = recurrence.Operands(form.q, form.k, form.v, log_decay, form.write, erases=isinstance(form, Delta))
    before = [0, 1, 16, 17, 17, 40]
    found = recurrence.states(module, before, start)
    for index, step in enumerate(before):
        assert relative_error(found[:, index], seen[step]) < 1e-6, step
