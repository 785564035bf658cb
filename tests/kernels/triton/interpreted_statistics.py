"""Sums and energies of A against the float64 reference; `test_interpreter` runs this in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.kernels import random_forms
from tests.kernels.random_forms import normal, operands, relative_error
from workbench import kernels
from workbench.kernels.forms import Reader
from workbench.kernels.triton import statistics

SINGLE = torch.float32
READ = [kernels.row_sum, kernels.column_sum, kernels.row_energy, kernels.energy_distance]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(random_forms, "BATCH", 1)
    monkeypatch.setattr(random_forms, "HEADS", 2)


def exclusive(time: int) -> Reader:
    form = random_forms.diagonal_decay(time, SINGLE, groups=2, mean=0.3)
    return replace(form, read=torch.rand(1, time, 2), diagonal=normal(1, time, 2, dtype=SINGLE))


FORMS: dict[str, Callable[[int], Reader]] = {
    "scalar": lambda time: random_forms.scalar_decay(time, SINGLE, groups=1, mean=0.3),
    "diagonal, exclusive": exclusive,
    "mamba": lambda time: random_forms.mamba(time, SINGLE, mean=0.3),
    "gated delta": lambda time: random_forms.delta_rule(time, SINGLE, groups=1, mean=0.3, scalar=True),
    "channel delta": lambda time: random_forms.delta_rule(time, SINGLE, groups=2, mean=0.3),
}


def check(form: Reader) -> None:
    exact = replace(form, **{name: x.double() for name, x in operands(form).items()})
    for read in READ:
        expected = read(exact, backend="reference")
        assert relative_error(read(form, backend="triton"), expected) < 3e-6, read.__name__


@pytest.mark.parametrize("kind", FORMS)
def test_statistics_are_those_of_the_matrix(kind: str) -> None:
    check(FORMS[kind](37 if kind != "scalar" else 70))


def test_a_memory_that_outlives_several_chunks_keeps_its_age() -> None:
    # At the pace of the other forms, what is two chunks old weighs nothing, and nobody could tell its distance.
    check(random_forms.scalar_decay(150, SINGLE, groups=1, mean=0.002))


@pytest.mark.parametrize("kind", ["scalar", "channel delta"])
def test_a_form_taken_in_stretches_gives_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_HELD", 1)  # stretches of the fewest steps, 64
    check(FORMS[kind](70))


def test_wide_keys_are_taken_in_parts() -> None:
    check(replace(FORMS["scalar"](20), q=normal(1, 20, 1, 70, dtype=SINGLE), k=normal(1, 20, 1, 70, dtype=SINGLE)))


def test_no_steps_have_no_statistics() -> None:
    for read in READ:
        assert read(FORMS["scalar"](0), backend="triton").shape == (1, 0, 2)


def test_what_the_kernels_cannot_read_is_refused_in_a_sentence() -> None:
    form = FORMS["scalar"](5)
    v, double = form.v.clone().requires_grad_(), replace(form, q=form.q.double())
    with pytest.raises(ValueError, match="triton backend does not compute this ScalarDecay: a gradient is asked for"):
        kernels.row_energy(replace(form, v=v), backend="triton")
    with pytest.raises(ValueError, match="not every operand is float32, float16 or bfloat16; use chunked"):
        kernels.row_energy(double, backend="triton")
    with pytest.raises(ValueError, match="Toeplitz: there is no kernel for it; use chunked"):
        kernels.row_sum(random_forms.toeplitz(5, SINGLE), backend="triton")
    with pytest.raises(ValueError, match="only forward and linear-time statistics are fused"):
        kernels.dense(form, backend="triton")
