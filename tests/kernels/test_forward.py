"""Outputs and final states: every implementation agrees with the sequential recurrence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import random_forms
from tests.kernels.random_forms import ALL, GROUPED, RECURRENT, cut, operands, relative_error
from workbench import kernels
from workbench.kernels import DiagonalDecay, ScalarDecay, Softmax, Toeplitz

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
DECAYING = [kind for kind in RECURRENT if kind != "mamba" and not kind.startswith("toeplitz")]


def as_float64(form: kernels.Form) -> kernels.Form:
    return replace(form, **{name: operand.double() for name, operand in operands(form).items()})


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("time", [1, 2, 63, 64, 65, 150])
@pytest.mark.parametrize("kind", ALL)
def test_chunked_outputs_are_those_of_the_reference_in_float64(kind: str, time: int, dtype: torch.dtype) -> None:
    form = ALL[kind](time, dtype)
    expected, state = kernels.forward(as_float64(form), backend="reference")
    got, final = kernels.forward(form, backend="chunked")
    assert got.dtype == dtype
    assert relative_error(got, expected) < TOLERANCE[dtype]
    if state is not None:
        assert final is not None and final.dtype == dtype
        assert relative_error(final, state) < TOLERANCE[dtype]


@pytest.mark.parametrize("kind", RECURRENT)
def test_what_is_hardly_forgotten_crosses_many_chunks(kind: str) -> None:
    form = RECURRENT[kind](300, mean=0.005)
    expected, _ = kernels.forward(form, backend="reference")
    assert relative_error(kernels.forward(form, backend="chunked")[0], expected) < 1e-10
    assert relative_error(kernels.dense(form), kernels.dense(form, backend="reference")) < 1e-10


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_run_cut_in_two_continues_from_the_state(kind: str) -> None:
    form = RECURRENT[kind](100)
    whole, last = kernels.forward(form, backend="reference")
    first, state = kernels.forward(cut(form, slice(0, 37)), backend="chunked")
    second, final = kernels.forward(cut(form, slice(37, 100)), state, backend="chunked")
    assert relative_error(torch.cat([first, second], 1), whole) < 1e-10
    assert final is not None and last is not None
    assert relative_error(final, last) < 1e-10


@pytest.mark.parametrize("kind", ALL)
def test_outputs_are_linear_in_the_values(kind: str) -> None:
    form = ALL[kind](70)
    other = torch.randn_like(form.v)
    both = kernels.forward(replace(form, v=2 * form.v - 3 * other))[0]
    apart = 2 * kernels.forward(form)[0] - 3 * kernels.forward(replace(form, v=other))[0]
    assert relative_error(both, apart) < 1e-12


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("kind", GROUPED)
def test_missing_write_means_one(kind: str, backend: kernels.Backend) -> None:
    form = replace(GROUPED[kind](70), write=None)
    written = replace(form, write=torch.ones(form.v.shape[:3], dtype=torch.float64))
    assert relative_error(kernels.forward(form, backend=backend)[0], kernels.forward(written)[0]) < 1e-12


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("kind", GROUPED)
def test_a_head_reads_its_group(kind: str, groups: int) -> None:
    form = GROUPED[kind](70, groups=groups)
    per_head = torch.arange(random_forms.HEADS) // (random_forms.HEADS // groups)
    spread = replace(form, q=form.q[:, :, per_head], k=form.k[:, :, per_head])
    for backend in ("reference", "chunked"):
        assert relative_error(kernels.forward(form, backend=backend)[0], kernels.forward(spread)[0]) < 1e-12


@pytest.mark.parametrize("kind", ALL)
def test_strided_and_expanded_operands_are_read_as_they_are(kind: str) -> None:
    form = ALL[kind](70)
    strided, plain = replace(form, v=form.v.mT.contiguous().mT), form
    if not isinstance(form, Toeplitz):
        q, k = form.q.transpose(0, 1).contiguous().transpose(0, 1), form.k[:, :1].expand(form.k.shape)
        strided, plain = replace(strided, q=q, k=k), replace(form, k=k.clone())
    assert relative_error(kernels.forward(strided, backend="chunked")[0], kernels.forward(plain)[0]) < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", RECURRENT)
def test_half_precision_operands_are_accumulated_in_float32(kind: str, dtype: torch.dtype) -> None:
    form = RECURRENT[kind](150, dtype)
    expected, expected_state = kernels.forward(as_float64(form), backend="reference")
    got, state = kernels.forward(form, backend="chunked")
    assert got.dtype == dtype
    assert state is not None and state.dtype == torch.float32
    # The state was never rounded to half precision; only the output is, once, at the end.
    assert relative_error(state, expected_state) < 1e-5
    assert relative_error(got, expected) < torch.finfo(dtype).eps


@pytest.mark.parametrize("kind", DECAYING)
@pytest.mark.parametrize("level", [0.0, -1e-7, -2.2, -50.0, -1000.0])
def test_decays_from_none_to_total_stay_accurate_in_float32(kind: str, level: float) -> None:
    form = RECURRENT[kind](200, torch.float32)
    assert not isinstance(form, Toeplitz)
    form = replace(form, log_decay=torch.full_like(form.log_decay, level))
    expected = kernels.forward(as_float64(form), backend="reference")[0]
    assert relative_error(kernels.forward(form, backend="chunked")[0], expected) < 1e-5


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("kind", DECAYING)
def test_a_log_decay_of_minus_infinity_forgets_everything(kind: str, backend: kernels.Backend) -> None:
    form = RECURRENT[kind](90)
    assert not isinstance(form, Toeplitz)
    form.log_decay[:, 40] = -torch.inf
    # An exclusive reader reads before the decay: what it reads at step 40 is from before the reset.
    first = 40 if form.diagonal is None else 41
    after = kernels.forward(cut(form, slice(40, None)), backend="reference")[0][:, first - 40 :]
    got = kernels.forward(form, backend=backend)[0][:, first:]
    assert relative_error(got, after) < 1e-12


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_cell_that_was_reset_has_no_trace_of_its_past(dtype: torch.dtype) -> None:
    form = random_forms.cells(90, dtype)
    form.log_decay[:, 40] = -torch.inf
    form.log_decay[:, 60] = -torch.inf
    loud = replace(form, v=form.v.clone())
    loud.v[:, :40] = 1e30
    leaves = {name: x.requires_grad_() for name, x in operands(loud).items()}
    for tracked in (form, replace(loud, **leaves)):
        got = kernels.forward(tracked, backend="chunked")[0][:, 40:]
        assert torch.equal(got, kernels.forward(cut(tracked, slice(40, None)), backend="chunked")[0])
    gradients = torch.autograd.grad(got.sum(), list(leaves.values()))
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert (gradient[:, :40] == 0).all()


def test_slow_decay_after_a_strong_one_keeps_its_digits() -> None:
    # In one float32 running sum the first steps' thousands would eat the later steps' digits.
    form = random_forms.scalar_decay(64, torch.float32)
    form = replace(form, log_decay=torch.full_like(form.log_decay, -1e-2))
    form.log_decay[:, :32] = -400.0
    expected = kernels.forward(as_float64(form), backend="reference")[0][:, 32:]
    assert relative_error(kernels.forward(form, backend="chunked")[0][:, 32:], expected) < 2e-6


@settings(max_examples=60, deadline=None)
@given(
    time=st.integers(0, 140),
    heads=st.integers(1, 4),
    groups=st.integers(1, 3),
    key=st.integers(1, 9),
    value=st.integers(1, 12),
    strength=st.floats(0, 60),
    diagonal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_decay_agrees_with_the_reference(
    time: int, heads: int, groups: int, key: int, value: int, strength: float, diagonal: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    heads = heads * groups
    q, k = torch.randn(2, 2, time, groups, key, dtype=torch.float64)
    v = torch.randn(2, time, heads, value, dtype=torch.float64)
    initial = torch.randn(2, heads, key, value, dtype=torch.float64)
    if diagonal:
        log_decay = -strength * torch.rand(2, time, heads, key, dtype=torch.float64) ** 4
        form: kernels.RecurrentForm = DiagonalDecay(q, k, v, log_decay)
    else:
        form = ScalarDecay(q, k, v, -strength * torch.rand(2, time, heads, dtype=torch.float64) ** 4)
    expected, state = kernels.forward(form, initial, backend="reference")
    got, final = kernels.forward(form, initial, backend="chunked")
    assert relative_error(got, expected) < 1e-10
    assert state is not None and final is not None
    assert relative_error(final, state) < 1e-10


@pytest.mark.parametrize("backend", ["auto", "reference", "chunked"])
def test_softmax_has_no_state_to_start_from(backend: kernels.Backend) -> None:
    form = random_forms.softmax(4)
    with pytest.raises(ValueError, match="no state"):
        kernels.forward(form, torch.zeros(2, 6, 5, 3, dtype=torch.float64), backend=backend)


def test_groups_that_do_not_divide_the_heads_are_refused() -> None:
    form = random_forms.softmax(4)
    odd = Softmax(form.q[:, :, :4], form.k, form.v, form.scale)
    with pytest.raises(ValueError, match="4 heads cannot share 3 groups"):
        kernels.forward(odd)
