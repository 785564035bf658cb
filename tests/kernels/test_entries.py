"""Pairs, rows, columns and tiles are entries of the one dense matrix that the sequential reference builds."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from tests.kernels import random_forms
from tests.kernels.random_forms import ALL, RECURRENT, cut, operands, relative_error
from workbench import kernels
from workbench.kernels import blocking
from workbench.kernels.diagonal_decay import chunked

TIME = 150


@pytest.fixture(params=ALL)
def form(request: pytest.FixtureRequest) -> kernels.Form:
    return ALL[request.param](TIME)


@pytest.fixture
def matrix(form: kernels.Form) -> torch.Tensor:
    return kernels.dense(form, backend="reference")


def test_the_dense_matrix_is_the_one_of_the_reference(form: kernels.Form, matrix: torch.Tensor) -> None:
    assert relative_error(kernels.dense(form), matrix) < 1e-10
    assert matrix.triu(1).count_nonzero() == 0


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_pairs_are_picked_from_the_matrix(form: kernels.Form, matrix: torch.Tensor, backend: kernels.Backend) -> None:
    query, key = torch.randint(TIME, (2, 2, 40))
    got = kernels.pairs(form, query, key, backend=backend)
    for sequence in range(2):
        assert relative_error(got[sequence], matrix[sequence][:, query[sequence], key[sequence]]) < 1e-10
    shared = kernels.pairs(form, query[0], key[0], heads=[4, 1, -1], backend=backend)
    assert relative_error(shared, matrix[:, [4, 1, 5]][:, :, query[0], key[0]]) < 1e-10
    assert (got[:, :, :] == 0)[(key > query)[:, None].expand_as(got)].all()


@pytest.mark.parametrize(
    "kind", [kind for kind, make in RECURRENT.items() if isinstance(make(2), kernels.DiagonalDecay)]
)
def test_a_band_of_places_shares_its_exponentials(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = RECURRENT[kind](TIME)
    assert isinstance(form, kernels.DiagonalDecay)
    form = replace(form, v=form.v.requires_grad_(False), q=form.q.requires_grad_(), k=form.k.requires_grad_())
    matrix = kernels.dense(form, backend="reference")
    query = torch.arange(60, 140).repeat_interleave(40)
    key = query - torch.arange(40).repeat(80) - 12
    key[::7] = query[::7] + torch.arange(len(query[::7])) % 12 - 3  # on the diagonal and above it, too
    order = torch.randperm(len(query))
    query, key = query[order], key[order]
    taken = []

    def counted(log_decay: torch.Tensor) -> torch.Tensor:
        taken.append(log_decay.numel())
        return log_decay.exp()

    monkeypatch.setattr(chunked, "decay_factor", counted)
    monkeypatch.setattr(sys.modules["workbench.kernels.diagonal_decay.pairs"], "SET_UP", 0)
    got = kernels.pairs(form, query, key)
    assert relative_error(got, matrix[:, :, query, key]) < 1e-10
    one_by_one = got.numel() * form.k.shape[-1]
    assert sum(taken) < one_by_one / 2
    # A rectangle is not looked for where that would take longer than the exponentials that it saves.
    taken.clear()
    monkeypatch.setattr(sys.modules["workbench.kernels.diagonal_decay.pairs"], "SET_UP", one_by_one + 1)
    assert relative_error(kernels.pairs(form, query, key), got) < 1e-10
    assert sum(taken) == one_by_one
    weight = torch.randn_like(got)
    of_pairs = torch.autograd.grad((got * weight).sum(), (form.q, form.k))
    of_matrix = torch.autograd.grad((matrix[:, :, query, key] * weight).sum(), (form.q, form.k))
    for one, other in zip(of_pairs, of_matrix, strict=True):
        assert relative_error(one, other) < 1e-10


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_rows_and_columns_are_picked_from_the_matrix(
    form: kernels.Form, matrix: torch.Tensor, backend: kernels.Backend
) -> None:
    positions = torch.tensor([149, 0, 63, 64, 65, 64, 128])
    assert relative_error(kernels.rows(form, positions, backend=backend), matrix[:, :, positions]) < 1e-10
    assert relative_error(kernels.columns(form, positions, backend=backend), matrix[..., positions]) < 1e-10
    each = torch.stack([positions, positions.flip(0)])
    rows = kernels.rows(form, each, heads=[3], backend=backend)
    columns = kernels.columns(form, each, heads=[3], backend=backend)
    for sequence in range(2):
        assert relative_error(rows[sequence], matrix[sequence, 3:4, each[sequence]]) < 1e-10
        assert relative_error(columns[sequence], matrix[sequence, 3:4][..., each[sequence]]) < 1e-10


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("rows", [slice(0, 7), slice(100, None), slice(None, None, 10), slice(-3, None)])
def test_a_tile_is_cut_from_the_matrix(
    form: kernels.Form, matrix: torch.Tensor, rows: slice, backend: kernels.Backend
) -> None:
    tile = kernels.dense(form, heads=[5, 0], rows=rows, backend=backend)
    assert relative_error(tile, matrix[:, [5, 0], rows]) < 1e-10


def test_small_blocks_change_nothing(form: kernels.Form, matrix: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks_of_three(length: int, elements_each: int, budget: int = 0) -> list[slice]:
        return list(blocking.blocks(length, elements_each=1, budget=3))

    for module in (
        "softmax.pattern", "softmax.entries", "scalar_decay.entries", "diagonal_decay.entries",
        "delta.entries", "delta.chunked",
    ):  # fmt: skip
        monkeypatch.setattr(f"workbench.kernels.{module}.blocks", blocks_of_three)
    positions = torch.tensor([149, 0, 63, 64, 65, 64, 128])
    assert relative_error(kernels.rows(form, positions), matrix[:, :, positions]) < 1e-10
    assert relative_error(kernels.columns(form, positions), matrix[..., positions]) < 1e-10
    assert relative_error(kernels.pairs(form, positions, positions), matrix[:, :, positions, positions]) < 1e-10
    energy = kernels.row_energy(form)
    assert relative_error(energy, matrix.square().sum(-1).transpose(1, 2)) < 1e-10


@pytest.mark.parametrize("kind", [kind for kind in RECURRENT if not kind.startswith("toeplitz")])
def test_neighbours_keep_their_digits_after_eleven_thousand_nats_of_decay(kind: str) -> None:
    # One float32 running sum is off by 9e-4 there. The last steps alone, from the sequential oracle, have no such sum.
    form = RECURRENT[kind](2000, torch.float32)
    assert not isinstance(form, kernels.Toeplitz)
    form = replace(form, log_decay=torch.full_like(form.log_decay, -5.5) - 0.1 * torch.rand_like(form.log_decay))
    if isinstance(form, kernels.DiagonalDecay) and form.rate is not None:
        form = replace(form, rate=torch.ones_like(form.rate))
    end = cut(form, slice(1980, None))
    end = replace(end, **{name: operand.double() for name, operand in operands(end).items()})
    exact = kernels.dense(end, backend="reference")
    query = torch.arange(1985, 2000)
    rows = kernels.rows(form, query)
    for distance in (1, 2, 5):
        expected = exact[:, :, query - 1980, query - 1980 - distance]
        assert relative_error(kernels.pairs(form, query, query - distance), expected) < 2e-6
        picked = rows[:, :, torch.arange(15), query - distance]
        assert relative_error(picked, expected) < 2e-6


def test_queries_are_the_last_of_the_sources() -> None:
    form = random_forms.softmax(4, source=9)
    matrix = kernels.dense(form)
    assert matrix.shape == (2, 6, 4, 9)
    assert (matrix[:, :, 0, :6] > 0).all() and (matrix[:, :, 0, 6:] == 0).all()
    assert relative_error(kernels.dense(form, backend="reference"), matrix) < 1e-12
    assert relative_error(kernels.forward(form)[0], kernels.apply_pattern(matrix, form.v)) < 1e-12
    got = kernels.pairs(form, torch.tensor([0, 0, 3]), torch.tensor([5, 6, 8]))
    assert relative_error(got, matrix[:, :, [0, 0, 3], [5, 6, 8]]) < 1e-12


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_positions_and_heads_out_of_range_are_named(form: kernels.Form, backend: kernels.Backend) -> None:
    inside = torch.tensor([3])
    with pytest.raises(ValueError, match="query positions must be between 0 and 149, got 150"):
        kernels.pairs(form, torch.tensor([150]), inside, backend=backend)
    with pytest.raises(ValueError, match="key positions must be between 0 and 149"):
        kernels.columns(form, torch.tensor([-1]), backend=backend)
    with pytest.raises(ValueError, match="heads must be between 0 and 5"):
        kernels.rows(form, inside, heads=[6], backend=backend)
    with pytest.raises(ValueError, match="pair up one by one"):
        kernels.pairs(form, inside, torch.tensor([[1], [2]]), backend=backend)


def test_an_empty_list_of_places_has_an_empty_answer(form: kernels.Form) -> None:
    nowhere = torch.zeros(0, dtype=torch.long)
    assert kernels.pairs(form, nowhere, nowhere).shape == (2, 6, 0)
    assert kernels.rows(form, nowhere).shape == (2, 6, 0, TIME)
    assert kernels.columns(form, nowhere).shape == (2, 6, TIME, 0)
