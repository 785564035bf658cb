"""Every form against its definition, computed one head and one step at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import naive, random_forms
from tests.kernels.random_forms import RECURRENT, relative_error, states
from workbench import kernels
from workbench.kernels import Delta, DiagonalDecay, RecurrentForm, ScalarDecay, Toeplitz
from workbench.kernels.grouping import select_heads


def check(form: RecurrentForm) -> None:
    """Outputs, states, entries and sums."""
    initial = states(form)
    outputs, each = naive.run(form, initial)
    matrix = naive.matrix(form)
    shown: list[Tensor] = []
    kernels.iterate(form, initial, on_state=lambda t, state: shown.append(state))
    for got, expected in zip(shown, each, strict=True):
        assert relative_error(got, expected) < 1e-10
    time = torch.arange(form.time)
    query, key = time.repeat_interleave(form.time), time.repeat(form.time)
    distance = time[:, None] - time
    for backend in ("reference", "chunked"):
        got, final = kernels.forward(form, initial, backend=backend)
        assert final is not None
        assert relative_error(got, outputs) < 1e-10
        assert relative_error(final, each[-1]) < 1e-10
        assert relative_error(kernels.dense(form, backend=backend), matrix) < 1e-10
        assert relative_error(kernels.pairs(form, query, key, backend=backend), matrix.flatten(2)) < 1e-10
        assert relative_error(kernels.columns(form, time, backend=backend), matrix) < 1e-10
        squares = matrix.square()
        for read, expected in {
            kernels.row_sum: matrix.sum(-1),
            kernels.column_sum: matrix.sum(-2),
            kernels.row_energy: squares.sum(-1),
            kernels.energy_distance: (squares * distance).sum(-1),
        }.items():
            assert relative_error(read(form, backend=backend), expected.transpose(1, 2)) < 1e-10, read.__name__


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_form_is_its_definition(kind: str) -> None:
    check(RECURRENT[kind](9))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["scalar decay", "diagonal decay", "rates", "delta", "delta apart", "toeplitz"]),
    time=st.integers(1, 12),
    groups=st.integers(1, 2),
    shared=st.integers(1, 2),
    key=st.integers(1, 4),
    value=st.sampled_from([1, 2, 9]),
    strength=st.floats(0, 30),
    write=st.booleans(),
    read=st.booleans(),
    exclusive=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_reading_is_the_definition(
    kind: str, time: int, groups: int, shared: int, key: int, value: int, strength: float,
    write: bool, read: bool, exclusive: bool, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    heads = groups * shared

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    q, k, v = normal(2, time, groups, key), normal(2, time, groups, key), normal(2, time, heads, value)
    decay = -strength * torch.rand(2, time, heads, key, dtype=torch.float64) ** 4
    unit = torch.nn.functional.normalize(k, dim=-1)
    rate = torch.rand(heads, key, dtype=torch.float64)
    forms: dict[str, RecurrentForm] = {
        "scalar decay": ScalarDecay(q, k, v, decay[..., 0]),
        "diagonal decay": DiagonalDecay(q, k, v, decay),
        "rates": DiagonalDecay(q, k, v, decay[..., :1], rate),
        "delta": Delta(q, unit, v, decay[..., : 1 if shared == 1 else key]),
        "delta apart": Delta(q, k, v, decay, probe=unit, erase=normal(2, time, heads, key) / key),
        "toeplitz": Toeplitz(v, normal(heads, 3 * key)),
    }
    form = forms[kind]
    if not isinstance(form, Toeplitz):
        strengths = torch.rand(2, time, heads, dtype=torch.float64)
        form = replace(
            form,
            write=strengths if write else None,
            read=normal(2, time, heads) if read else None,
            diagonal=normal(2, time, heads) if exclusive else None,
        )
    check(form)


@pytest.mark.parametrize("kind", [kind for kind in RECURRENT if "exclusive" in kind])
def test_the_first_row_of_an_exclusive_reader_reads_nothing_but_the_state_before_any_decay(kind: str) -> None:
    form = RECURRENT[kind](3)
    assert not isinstance(form, Toeplitz)
    assert form.read is not None and form.diagonal is not None
    assert (kernels.rows(form, torch.tensor([0]))[..., 1:] == 0).all()
    assert torch.equal(kernels.pairs(form, torch.tensor([0]), torch.tensor([0]))[..., 0], form.diagonal[:, 0])
    initial = states(form)
    undecayed = replace(form, log_decay=torch.zeros_like(form.log_decay))
    first = kernels.forward(form, initial)[0][:, 0]
    assert relative_error(first, kernels.forward(undecayed, initial)[0][:, 0]) < 1e-12
    assert not torch.allclose(first, kernels.forward(form)[0][:, 0])


@pytest.mark.parametrize("kind", RECURRENT)
def test_selected_heads_compute_what_they_compute_among_all(kind: str) -> None:
    form = RECURRENT[kind](9)
    chosen = select_heads(form, [4, 1, -1])
    assert not isinstance(chosen, kernels.Softmax)
    assert relative_error(kernels.forward(chosen)[0], kernels.forward(form)[0][:, :, [4, 1, 5]]) < 1e-12


def test_bfloat16_outputs_of_an_exclusive_reader_are_rounded_once() -> None:
    form = random_forms.reading(random_forms.scalar_decay, exclusive=True)(70, torch.bfloat16)
    doubled = replace(form, **{name: x.double() for name, x in random_forms.operands(form).items()})
    got, state = kernels.forward(form)
    assert got.dtype == torch.bfloat16 and state is not None and state.dtype == torch.float32
    # Half a unit in the last place of the largest output; a second rounding on the way may add as much again.
    assert relative_error(got, kernels.forward(doubled)[0]) < 0.51 * torch.finfo(torch.bfloat16).eps
