"""Entries and statistics of A under the delta rule are those of the matrix that the sequential oracle builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from tests.kernels import naive, random_forms
from tests.kernels.random_forms import relative_error
from tests.kernels.test_delta import KINDS, SHAPES, TIMES, awkward, drawn
from tests.peak_memory import printed_numbers
from workbench.kernels import blocking
from workbench.kernels.delta import chunked, entries, reference, statistics
from workbench.kernels.forms import Delta


def check(form: Delta, matrix: Tensor, tolerance: float) -> None:
    """Every reading of the form against its matrix; positions come in random order, twice, and differ by sequence."""
    batch, time = form.v.shape[:2]
    first, second = torch.randint(time, (2, batch, 40))
    everywhere = torch.arange(time)[None]
    near = (first - torch.randint(3, first.shape)).clamp(min=0)
    for query, key in ((first, second), (first, near), (first, first)):
        expected = torch.stack([matrix[b][:, query[b], key[b]] for b in range(batch)])
        assert relative_error(entries.pairs(form, query, key), expected) < tolerance
    assert relative_error(entries.rows(form, everywhere), matrix) < tolerance
    assert relative_error(entries.columns(form, everywhere), matrix) < tolerance
    rows = torch.stack([matrix[b][:, first[b]] for b in range(batch)])
    assert relative_error(entries.rows(form, first), rows) < tolerance
    columns = torch.stack([matrix[b][:, :, first[b]] for b in range(batch)])
    assert relative_error(entries.columns(form, first), columns) < tolerance
    distance = everywhere.T - everywhere
    read: dict[Callable[[Delta], Tensor], Tensor] = {
        statistics.row_sum: matrix.sum(-1),
        statistics.column_sum: matrix.sum(-2),
        statistics.row_energy: matrix.square().sum(-1),
        statistics.energy_distance: (matrix.square() * distance).sum(-1),
    }
    for function, value in read.items():
        assert relative_error(function(form), value.transpose(1, 2)) < tolerance, function.__name__


def in_float64(form: Delta) -> Tensor:
    doubled = {name: x.double() for name, x in random_forms.operands(form).items()}
    return reference.dense(replace(form, **doubled))


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_is_the_product_of_its_transitions(kind: str) -> None:
    form = KINDS[kind](12)
    assert relative_error(reference.dense(form), naive.matrix(form)) < 1e-12
    outputs = torch.einsum("bhts,bshv->bthv", reference.dense(form), form.v)
    assert relative_error(reference.forward(form)[0], outputs) < 1e-12


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_the_matrix_holds(kind: str, time: int) -> None:
    form = KINDS[kind](time)
    check(form, reference.dense(form), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_in_float32(kind: str) -> None:
    form = KINDS[kind](130, torch.float32)
    check(form, in_float64(form), 1e-5)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("channels", [False, True])
def test_what_is_never_forgotten_crosses_many_chunks(channels: bool, apart: bool) -> None:
    # A write of 2 reflects: no transition makes anything smaller.
    form = awkward(8, 200, probes=3 * apart, channels=channels, lowest=0.0, write=False)
    probe = form.k if form.probe is None else form.probe
    form = replace(form, write=torch.full(form.v.shape[:3], 2.0).double(), erase=2 * probe if apart else None)
    matrix = reference.dense(form)
    assert matrix[:, :, -32:, :32].abs().mean() > 0.2 * matrix[:, :, -32:, -32:].abs().mean()
    check(form, matrix, 1e-10)


@settings(max_examples=30, deadline=None)
@given(**SHAPES)
def test_it_holds_for_any_shape_and_decay(**how: object) -> None:
    form = drawn(**how)  # type: ignore[arg-type]
    check(form, reference.dense(form), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_stretches_and_blocks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "blocks", lambda length, each: blocking.blocks(length, 1, budget=2))
    monkeypatch.setattr(entries, "blocks", lambda length, each: blocking.blocks(length, 1, budget=7))
    form = KINDS[kind](100)
    check(form, reference.dense(form), 1e-10)


def test_above_the_diagonal_there_is_exactly_nothing() -> None:
    every = torch.arange(70)
    for kind, make in KINDS.items():
        form = make(70)
        assert entries.rows(form, every[None]).triu(1).count_nonzero() == 0, kind
        assert entries.columns(form, every[None]).triu(1).count_nonzero() == 0, kind
        assert entries.pairs(form, every[None, :-1], every[None, 1:]).count_nonzero() == 0, kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_form_without_steps_has_an_empty_matrix(kind: str) -> None:
    form, nowhere = KINDS[kind](0), torch.zeros(1, 0, dtype=torch.long)
    assert entries.pairs(form, nowhere, nowhere).shape == (2, 6, 0)
    assert entries.rows(form, nowhere).shape == (2, 6, 0, 0)
    assert entries.columns(form, nowhere).shape == (2, 6, 0, 0)
    for read in (statistics.row_sum, statistics.column_sum, statistics.row_energy, statistics.energy_distance):
        assert read(form).shape == (2, 0, 6)


def test_energies_keep_their_digits_row_by_row_under_strong_decay() -> None:
    form = awkward(7, 300, lowest=-60.0, dtype=torch.float32)
    exact = in_float64(form).square().sum(-1).transpose(1, 2)
    # A row may be small because what it reads was erased: that is a cancellation, whose rounding is not relative.
    kept = exact > 1e-3 * exact.median()
    assert kept.double().mean() > 0.9
    assert ((statistics.row_energy(form).double() - exact) / exact)[kept].abs().max() < 1e-3


READINGS: dict[str, Callable[[Delta], Tensor]] = {
    "rows": lambda form: entries.rows(form, torch.tensor([[6, 0, 3, 6]])),
    "columns": lambda form: entries.columns(form, torch.tensor([[6, 0, 3, 1]])),
    "pairs": lambda form: entries.pairs(form, torch.tensor([[6, 5, 6, 4]]), torch.tensor([[0, 5, 1, 3]])),
    "row sum": statistics.row_sum,
    "column sum": statistics.column_sum,
    "row energy": statistics.row_energy,
    "energy distance": statistics.energy_distance,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reading", READINGS)
def test_what_is_read_is_differentiable(kind: str, reading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK", 3)
    form = KINDS[kind](7)
    leaves = {name: x.requires_grad_() for name, x in random_forms.operands(form).items() if name != "v"}

    def run(*operands: Tensor) -> Tensor:
        return READINGS[reading](replace(form, **dict(zip(leaves, operands, strict=True))))

    assert torch.autograd.gradcheck(run, tuple(leaves.values()), fast_mode=True)


# One matrix would take 1.07 GB.
MEASURED = """
import torch
from workbench.kernels.delta import entries, statistics
from workbench.kernels.forms import Delta

torch.manual_seed(0)
torch.set_grad_enabled(False)

def form(time):
    q, k, v = torch.randn(3, 1, time, 4, 32)
    k = torch.nn.functional.normalize(k, dim=-1)
    return Delta(q, k, v, -0.01 * torch.rand(1, time, 4, 32), write=torch.rand(1, time, 4))

def read(form):
    query = torch.arange(form.v.shape[1])[None, -1000:]
    entries.pairs(form, query, (query - 1000).clamp(min=0))
    entries.rows(form, query[:, -100:])
    entries.columns(form, query[:, :100])
    statistics.column_sum(form), statistics.row_energy(form), statistics.energy_distance(form)

read(form(64))  # what importing costs is not counted
long = form(8192)
before = peak()
read(long)
print(peak() - before)
"""


def test_reading_a_long_form_takes_memory_linear_in_its_length() -> None:
    (extra,) = printed_numbers(MEASURED)
    assert 10e6 < extra < 400e6, f"{extra / 1e6:.0f} MB"
