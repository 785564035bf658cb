"""One function an operation, whatever the form: picks the implementation and checks what it is given.

Every function takes `backend`: ``"reference"`` is the sequential oracle, ``"chunked"`` plain PyTorch, ``"cpu"`` the
compiled loops for CPUs, ``"triton"`` the fused kernels for GPUs, ``"auto"`` the fastest that applies (see
`workbench.kernels.use_backend`).
Results are float32, or float64 when an operand is; `forward` alone returns its outputs in the dtype of `v`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.kernels import reading, segments
from workbench.kernels.backends import Backend, resolve
from workbench.kernels.forms import Form, Reader, RecurrentForm, Softmax, Toeplitz
from workbench.kernels.grouping import select_heads
from workbench.kernels.native import backend as native
from workbench.kernels.rooms import Fused, Statistics, recurrent_room, room
from workbench.kernels.softmax import chunked as softmax_chunked
from workbench.kernels.softmax import pattern as softmax_pattern
from workbench.kernels.softmax import reference as softmax_reference
from workbench.kernels.softmax import statistics as softmax_statistics
from workbench.kernels.triton import backend as triton

State = Float[Tensor, "batch heads key value"]
Outputs = Float[Tensor, "batch time heads value"]
PerToken = Float[Tensor, "batch time heads"]
Positions = Int[Tensor, " positions"] | Int[Tensor, "batch positions"]
_FUSED: dict[str, Fused] = {"cpu": native, "triton": triton}


def forward(form: Form, initial_state: State | None = None, backend: Backend = "auto") -> tuple[Outputs, State | None]:
    """Outputs ``o = A v`` (plus what an initial state adds) and the final state; None for softmax. Differentiable.

    Raises:
        ValueError: softmax was given an initial state, the state has another shape than the form's, or the backend
            cannot compute this form.
    """
    chosen = resolve(backend)
    if isinstance(form, Softmax):
        if initial_state is not None:
            raise ValueError("softmax attention has no state: give it the earlier keys and values instead")
        _refuse_fused(form, chosen)
        return softmax_reference.forward(form) if chosen == "reference" else softmax_chunked.forward(form)
    if chosen == "reference":
        return iterate(form, initial_state)
    _check_state(form, initial_state)
    return reading.forward(form, initial_state, lambda plain: _forward(plain, initial_state, chosen))


def iterate(
    form: RecurrentForm,
    initial_state: State | None = None,
    on_state: Callable[[int, Tensor], Tensor | None] | None = None,
    at: Iterable[int] | None = None,
    backend: Backend = "auto",
) -> tuple[Outputs, State]:
    """Run a recurrent form and show its state, after every step or after the chosen ones.

    Args:
        on_state: called with the step and the state ``[batch, heads, key, value]`` after its update and before it is
            read; a tensor it returns replaces the state, for this step's output and for every later step. An exclusive
            reader's output is read before the update: what replaces the state is first read by the next step.
        at: steps at which `on_state` is called. They are taken one at a time by the reference, and what lies between
            them runs as `forward` does, so a few steps cost little. None means every step.
        backend: of what runs between the chosen steps.

    Raises:
        ValueError: the initial state has another shape than the form's, or a step is not in the run.
    """
    _check_state(form, initial_state)
    run = recurrent_room(form).reference.forward
    if at is None:
        return reading.forward(form, initial_state, lambda plain: run(plain, initial_state, on_state))
    chosen, steps = resolve(backend), segments.checked_steps(at, form.time)

    def between(part: RecurrentForm, state: Tensor | None) -> tuple[Tensor, Tensor]:
        return run(part, state) if chosen == "reference" else _forward(part, state, chosen)

    def look(step: int, state: Tensor) -> Tensor | None:
        return None if on_state is None else on_state(step, state)

    def in_segments(plain: Form) -> tuple[Tensor, Tensor]:
        assert not isinstance(plain, Softmax)
        return segments.iterate(plain, initial_state, look, steps, between, run)

    return reading.forward(form, initial_state, in_segments)


def states(
    form: RecurrentForm, at: Sequence[int], initial_state: State | None = None, backend: Backend = "auto"
) -> Float[Tensor, "batch chosen heads key value"]:
    """The states after the chosen steps, in the order asked for.

    On a CPU they fall out of one fused pass, where no gradient is recorded; elsewhere what lies between them runs as
    `forward` does.

    Raises:
        ValueError: as for `iterate`.
    """
    steps = segments.checked_steps(at, form.time)
    _check_state(form, initial_state)
    fused = resolve(backend) in ("auto", "cpu") and native.states_misfit(form, initial_state) is None
    if steps and fused and native.available(form, initial_state):
        plain = reading.plain(form)
        assert isinstance(plain, Reader)  # the loops know no other form
        found = native.states(plain, steps, initial_state)
        return found if steps == list(at) else found[:, [steps.index(int(step)) for step in at]]
    kept: dict[int, Tensor] = {}
    iterate(form, initial_state, kept.__setitem__, at, backend)
    if not kept:
        width = form.kernel.shape[1] - 1 if isinstance(form, Toeplitz) else form.k.shape[-1]
        dtype = segments.state_dtype(form, initial_state)
        return form.v.new_zeros(form.batch, 0, form.heads, width, form.v.shape[-1], dtype=dtype)
    return torch.stack([kept[step] for step in at], dim=1)


def step(form: RecurrentForm, state: State) -> tuple[Outputs, State]:
    """One step of generation: outputs and the next state of a form of one time step.

    Raises:
        ValueError: the form has more than one step, or the state another shape than the form's.
    """
    if form.time != 1:
        raise ValueError(f"step takes a form of one time step, this one has {form.time}: use forward")
    return iterate(form, state)


def dense(
    form: Form, heads: Sequence[int] | None = None, rows: slice | Positions | None = None, backend: Backend = "auto"
) -> Float[Tensor, "batch chosen rows source"]:
    """The matrix A of the chosen heads (all) and rows (all). It is as large as it sounds; ask for a tile."""
    form = select_heads(form, heads)
    if rows is None:
        rows = slice(None)
    if isinstance(rows, slice):
        rows = torch.arange(*rows.indices(form.time))
    query = _positions(rows, form.time, "rows", form.v.device)
    return _take_rows(_reference_dense(form), query) if _reference(backend, form) else _rows(form, query)


def pairs(
    form: Form, query: Positions, key: Positions, heads: Sequence[int] | None = None, backend: Backend = "auto"
) -> Float[Tensor, "batch chosen positions"]:
    """``A[query, key]`` at listed places; 0 where the key comes after the query. Memory grows with the list only.

    Args:
        query: positions along the form's time, ``[pairs]`` or ``[batch, pairs]``.
        key: positions along its sources, of the same shape.
    """
    if query.shape != key.shape:
        raise ValueError(f"query and key pair up one by one, but their shapes are {[*query.shape]} and {[*key.shape]}")
    form = select_heads(form, heads)
    query = _positions(query, form.time, "query", form.v.device)
    key = _positions(key, form.source, "key", form.v.device)
    if _reference(backend, form):
        picked = _take_rows(_reference_dense(form), query)
        return picked.gather(-1, key[:, None, :, None].expand(*picked.shape[:3], 1))[..., 0]
    return reading.pairs(form, query, key, room(form).entries.pairs)


def rows(
    form: Form, query: Positions, heads: Sequence[int] | None = None, backend: Backend = "auto"
) -> Float[Tensor, "batch chosen positions source"]:
    """Whole rows of A: what each listed query reads."""
    form = select_heads(form, heads)
    query = _positions(query, form.time, "query", form.v.device)
    return _take_rows(_reference_dense(form), query) if _reference(backend, form) else _rows(form, query)


def columns(
    form: Form, key: Positions, heads: Sequence[int] | None = None, backend: Backend = "auto"
) -> Float[Tensor, "batch chosen time positions"]:
    """Whole columns of A: who reads each listed source."""
    form = select_heads(form, heads)
    key = _positions(key, form.source, "key", form.v.device)
    if _reference(backend, form):
        return _take_rows(_reference_dense(form).mT, key).mT
    return reading.columns(form, key, room(form).entries.columns)


def row_sum(form: Form, backend: Backend = "auto") -> PerToken:
    """``sum_s A[t, s]``, signed."""
    if resolve(backend) == "reference":
        return _reference_dense(form).sum(-1).transpose(1, 2)
    return reading.row_sum(form, lambda plain: _statistics(plain, backend).row_sum(plain))


def column_sum(form: Form, backend: Backend = "auto") -> PerToken:
    """``sum_t A[t, s]``, signed, a number a source."""
    if resolve(backend) == "reference":
        return _reference_dense(form).sum(-2).transpose(1, 2)
    return reading.column_sum(form, lambda plain: _statistics(plain, backend).column_sum(plain))


def row_energy(form: Form, backend: Backend = "auto") -> PerToken:
    """``sum_s A[t, s]^2``."""
    if resolve(backend) == "reference":
        return _reference_dense(form).square().sum(-1).transpose(1, 2)
    return reading.row_energy(form, lambda plain: _statistics(plain, backend).row_energy(plain))


def energy_distance(form: Form, backend: Backend = "auto") -> PerToken:
    """``sum_s A[t, s]^2 (t - s)``, in tokens; divide by `row_energy` for the mean."""
    if resolve(backend) == "reference":
        matrix = _reference_dense(form)
        return (matrix.square() * _distance(matrix)).sum(-1).transpose(1, 2)
    return reading.energy_distance(
        form,
        lambda plain: _statistics(plain, backend).energy_distance(plain),
        lambda plain: _statistics(plain, backend).row_energy(plain),
    )


def mass_distance(form: Softmax, backend: Backend = "auto") -> PerToken:
    """``sum_s A[t, s] (t - s)``, in tokens; divide by `row_sum` for the mean. Softmax only: its A has no signs."""
    if _reference(backend, form):
        matrix = _reference_dense(form)
        return (matrix * _distance(matrix)).sum(-1).transpose(1, 2)
    return softmax_statistics.mass_distance(form)


def pattern(form: Softmax, backend: Backend = "auto") -> Float[Tensor, "batch heads time source"]:
    """The attention pattern, differentiable; a row that may look nowhere is zero, a sink's share is left out."""
    return _reference_dense(form) if _reference(backend, form) else softmax_pattern.pattern(form)


apply_pattern = softmax_pattern.apply_pattern


def _forward(form: Form, initial_state: State | None, chosen: Backend) -> tuple[Outputs, State]:
    assert not isinstance(form, Softmax)
    fused = _fused(form, chosen, lambda backend: backend.misfit(form, initial_state))
    return (recurrent_room(form).chunked if fused is None else fused).forward(form, initial_state)


def _fused(form: Form, chosen: Backend, misfit: Callable[[Fused], str | None]) -> Fused | None:
    """The fused kernels that compute something of the form; None where PyTorch does.

    Raises:
        ValueError: a fused backend was named and cannot.
    """
    if chosen == "auto":
        found = _FUSED["triton" if form.v.is_cuda else "cpu"]
        return found if misfit(found) is None and found.available(form) else None
    if chosen not in _FUSED:
        return None
    found = _FUSED[chosen]
    reason = misfit(found)
    if reason is None and not found.available(form):
        reason = "its kernels could not be built"
    if reason is not None:
        raise ValueError(f"the {chosen} backend does not compute this {type(form).__name__}: {reason}; use chunked")
    return found


def _check_state(form: RecurrentForm, state: State | None) -> None:
    width = form.kernel.shape[1] - 1 if isinstance(form, Toeplitz) else form.k.shape[-1]
    expected = [form.batch, form.heads, width, form.v.shape[-1]]
    if state is not None and [*state.shape] != expected:
        raise ValueError(f"the form's state is {expected} (batch, heads, key, value), this one is {[*state.shape]}")


def _refuse_fused(form: Form, chosen: Backend) -> None:
    _fused(form, chosen, lambda _: "only forward and linear-time statistics are fused")


def _reference(backend: Backend, form: Form) -> bool:
    chosen = resolve(backend)
    _refuse_fused(form, chosen)
    return chosen == "reference"


def _statistics(form: Form, backend: Backend) -> Statistics:
    """What computes the statistics of a form without `read` and `diagonal`."""
    return _fused(form, resolve(backend), lambda fused: fused.statistics_misfit(form)) or room(form).statistics


def _reference_dense(form: Form) -> Float[Tensor, "batch heads time source"]:
    if isinstance(form, Softmax):
        return softmax_reference.pattern(form)
    return reading.dense(form, recurrent_room(form).reference.dense)


def _rows(form: Form, query: Int[Tensor, "#batch queries"]) -> Float[Tensor, "batch heads queries source"]:
    return reading.rows(form, query, room(form).entries.rows)


def _take_rows(matrix: Tensor, query: Positions) -> Tensor:
    index = query.expand(matrix.shape[0], -1)[:, None, :, None]
    return matrix.gather(2, index.expand(-1, matrix.shape[1], -1, matrix.shape[3]))


def _distance(matrix: Tensor) -> Tensor:
    time, source = matrix.shape[-2:]
    queries = torch.arange(source - time, source, device=matrix.device)
    return queries[:, None] - torch.arange(source, device=matrix.device)


def _positions(positions: Positions, length: int, name: str, device: torch.device) -> Int[Tensor, "#batch positions"]:
    """The positions on the form's device, with a batch dimension, once they are known to lie inside its length."""
    if positions.numel():
        low, high = int(positions.min()), int(positions.max())
        if low < 0 or high >= length:
            raise ValueError(f"{name} positions must be between 0 and {length - 1}, got {low if low < 0 else high}")
    positions = positions.to(device)
    return positions if positions.ndim == 2 else positions[None]
