"""Which implementation runs, who may choose it, and the fused scan of Mamba-1's layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.kernels import random_forms
from tests.kernels.random_forms import relative_error
from workbench import kernels
from workbench.kernels import backends
from workbench.kernels.diagonal_decay import selective
from workbench.kernels.native import recurrence
from workbench.kernels.native import selective_scan as cpu

needs_compiler = pytest.mark.skipif(cpu.library() is None, reason="The fused scan needs a C++ compiler.")


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which implementation of scalar decay is entered."""
    from workbench.kernels.scalar_decay import chunked, reference

    entered: list[str] = []
    for name, module in (("chunked", chunked), ("reference", reference)):
        original = module.forward

        def recorded(*args: object, _name: str = name, _original: object = original, **more: object) -> object:
            entered.append(_name)
            assert callable(_original)
            return _original(*args, **more)

        monkeypatch.setattr(module, "forward", recorded)
    return entered


def test_the_call_wins_over_the_context_and_the_context_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_BACKEND", raising=False)
    entered = calls(monkeypatch)
    form = random_forms.scalar_decay(3)
    kernels.forward(form)
    monkeypatch.setenv("WORKBENCH_BACKEND", "reference")
    kernels.forward(form)
    with kernels.use_backend("chunked"):
        kernels.forward(form)
        with kernels.use_backend("reference"):
            kernels.forward(form)
        kernels.forward(form, backend="reference")
        kernels.forward(form)
    kernels.forward(form)
    assert entered == ["chunked", "reference", "chunked", "reference", "reference", "chunked", "reference"]


def test_an_unknown_backend_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_BACKEND", "fast")
    with pytest.raises(ValueError, match="unknown backend 'fast': choose one of auto, reference, chunked, cpu"):
        kernels.forward(random_forms.scalar_decay(3))


def test_the_cpu_backend_says_what_does_not_fit() -> None:
    for name in ("scalar decay", "mamba", "delta"):
        with pytest.raises(ValueError, match="not every operand is float32"):
            kernels.forward(random_forms.RECURRENT[name](3), backend="cpu")
    with pytest.raises(ValueError, match="does not compute this Toeplitz: there are no loops for it"):
        kernels.forward(random_forms.RECURRENT["toeplitz"](3), backend="cpu")
    with pytest.raises(ValueError, match="does not compute this Softmax"):
        kernels.row_sum(random_forms.softmax(3), backend="cpu")


@needs_compiler
@pytest.mark.parametrize("state", [5, 16, 20])
@pytest.mark.parametrize("write", ["its step", "apart", "none"])
def test_the_fused_scan_is_the_recurrence(write: str, state: int) -> None:
    form = random_forms.mamba(150, torch.float32, state=state)
    if write != "its step":
        form = replace(form, write=torch.randn(2, 150, 6) if write == "apart" else None)
    form.log_decay[:, 3:5] = 0.0  # a step of zero decays nothing and must not divide by itself
    initial = torch.randn(2, 6, state, 1)
    expected, last = kernels.forward(form, initial, backend="reference")
    got, final = kernels.forward(form, initial, backend="cpu")
    assert last is not None and final is not None
    assert relative_error(got, expected) < 1e-5
    assert relative_error(final, last) < 1e-5


@needs_compiler
@pytest.mark.parametrize("write", ["its step", "apart"])
def test_the_fused_scan_is_differentiable_in_every_operand(write: str) -> None:
    form = random_forms.mamba(150, torch.float32)
    if write == "apart":
        form = replace(form, write=torch.randn(2, 150, 6))
    names = ("q", "k", "v", "log_decay", "rate", "write")
    initial = torch.randn(2, 6, random_forms.KEY, 1)
    direction = torch.randn(2, 150, 6, 1)
    gradients = []
    for backend in ("cpu", "reference"):
        operands = {name: getattr(form, name).clone().requires_grad_() for name in names}
        start = initial.clone().requires_grad_()
        outputs, _ = kernels.forward(replace(form, **operands), start, backend=backend)
        gradients.append(torch.autograd.grad((outputs * direction).sum(), [start, *operands.values()]))
    for name, got, expected in zip(("initial state", *names), *gradients, strict=True):
        assert relative_error(got, expected) < 1e-5, name


@needs_compiler
def test_left_to_itself_the_fused_scan_runs_mamba_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_BACKEND", raising=False)
    entered = []
    original = selective.forward
    monkeypatch.setattr(selective, "forward", lambda *args: entered.append(1) or original(*args))
    kernels.forward(random_forms.mamba(5, torch.float32))
    assert entered == [1]
    kernels.forward(random_forms.mamba(5, torch.float64))
    kernels.forward(random_forms.diagonal_decay(5, torch.float32))
    with kernels.use_backend("chunked"):
        kernels.forward(random_forms.mamba(5, torch.float32))
    assert entered == [1]


def test_without_a_compiler_everything_is_computed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "library", lambda: None)
    monkeypatch.setattr(selective, "library", lambda: None)
    monkeypatch.setattr(selective, "forward", lambda *args: pytest.fail("the fused scan was entered"))
    monkeypatch.setattr(recurrence, "recurrence", lambda *args: pytest.fail("the compiled recurrence was entered"))
    for kind in ("mamba", "diagonal decay", "scalar decay", "delta"):
        form = random_forms.RECURRENT[kind](70, torch.float32)
        assert relative_error(kernels.forward(form)[0], kernels.forward(form, backend="reference")[0]) < 1e-5
        with pytest.raises(ValueError, match="its kernels could not be built"):
            kernels.forward(form, backend="cpu")


def test_leaving_a_context_by_an_error_restores_the_choice() -> None:
    with pytest.raises(RuntimeError, match="on purpose"), kernels.use_backend("reference"):
        raise RuntimeError("on purpose")
    assert backends.resolve("chunked") == "chunked"
    assert backends._forced.get() is None
