"""Which room computes which form: the one table that a new form is added to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from workbench.kernels.delta import chunked as delta_chunked
from workbench.kernels.delta import entries as delta_entries
from workbench.kernels.delta import reference as delta_reference
from workbench.kernels.delta import statistics as delta_statistics
from workbench.kernels.diagonal_decay import chunked as diagonal_chunked
from workbench.kernels.diagonal_decay import entries as diagonal_entries
from workbench.kernels.diagonal_decay import reference as diagonal_reference
from workbench.kernels.diagonal_decay import statistics as diagonal_statistics
from workbench.kernels.forms import Delta, DiagonalDecay, Form, RecurrentForm, ScalarDecay, Softmax, Toeplitz
from workbench.kernels.scalar_decay import chunked as scalar_chunked
from workbench.kernels.scalar_decay import entries as scalar_entries
from workbench.kernels.scalar_decay import reference as scalar_reference
from workbench.kernels.scalar_decay import statistics as scalar_statistics
from workbench.kernels.softmax import entries as softmax_entries
from workbench.kernels.softmax import statistics as softmax_statistics
from workbench.kernels.toeplitz import chunked as toeplitz_chunked
from workbench.kernels.toeplitz import entries as toeplitz_entries
from workbench.kernels.toeplitz import reference as toeplitz_reference
from workbench.kernels.toeplitz import statistics as toeplitz_statistics

OnState = Callable[[int, Tensor], Tensor | None]


@runtime_checkable
class Entries(Protocol):
    """Entries of A without the whole matrix; positions have a batch dimension of their own or of 1."""

    def pairs(self, form: Any, query: Tensor, key: Tensor) -> Tensor:
        """``[batch, heads, pairs]``."""

    def rows(self, form: Any, query: Tensor) -> Tensor:
        """``[batch, heads, queries, source]``."""

    def columns(self, form: Any, key: Tensor) -> Tensor:
        """``[batch, heads, time, keys]``."""


@runtime_checkable
class Statistics(Protocol):
    """Sums over rows and columns of A, ``[batch, time or source, heads]``."""

    def row_sum(self, form: Any) -> Tensor:
        """``sum_s A[t, s]``."""

    def column_sum(self, form: Any) -> Tensor:
        """``sum_t A[t, s]``."""

    def row_energy(self, form: Any) -> Tensor:
        """``sum_s A[t, s]^2``."""

    def energy_distance(self, form: Any) -> Tensor:
        """``sum_s A[t, s]^2 (t - s)``."""


@runtime_checkable
class Reference(Protocol):
    """The oracle, one step at a time."""

    def forward(
        self, form: Any, initial_state: Tensor | None = None, on_state: OnState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs and final state."""

    def dense(self, form: Any) -> Tensor:
        """The whole matrix, ``[batch, heads, time, source]``."""


@runtime_checkable
class Chunked(Protocol):
    """Plain PyTorch, as fast as that gets."""

    def forward(self, form: Any, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs and final state."""


@runtime_checkable
class Fused(Statistics, Protocol):
    """Compiled loops for a CPU, or kernels for a GPU. They serve some forms, layouts, dtypes and devices only."""

    def misfit(self, form: Any, initial_state: Tensor | None = None) -> str | None:
        """What keeps the form from them, as the end of a sentence; None when they compute it."""

    def available(self, form: Any, initial_state: Tensor | None = None) -> bool:
        """Whether the form fits and they can be run; loops are compiled on first use."""

    def forward(self, form: Any, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs and final state."""

    def statistics_misfit(self, form: Any) -> str | None:
        """What keeps the form's statistics from them, as the end of a sentence; None when they compute them."""


@dataclass(frozen=True)
class Room:
    """Modules that read a form's matrix."""

    entries: Entries
    statistics: Statistics


@dataclass(frozen=True)
class RecurrentRoom(Room):
    """Modules that read a recurrent form's matrix and run it; they know nothing of `read` and `diagonal`."""

    reference: Reference
    chunked: Chunked


_SOFTMAX = Room(softmax_entries, softmax_statistics)
_RECURRENT: dict[type[RecurrentForm], RecurrentRoom] = {
    ScalarDecay: RecurrentRoom(scalar_entries, scalar_statistics, scalar_reference, scalar_chunked),
    DiagonalDecay: RecurrentRoom(diagonal_entries, diagonal_statistics, diagonal_reference, diagonal_chunked),
    Delta: RecurrentRoom(delta_entries, delta_statistics, delta_reference, delta_chunked),
    Toeplitz: RecurrentRoom(toeplitz_entries, toeplitz_statistics, toeplitz_reference, toeplitz_chunked),
}


def recurrent_room(form: RecurrentForm) -> RecurrentRoom:
    """The room of a recurrent form."""
    return _RECURRENT[type(form)]


def room(form: Form) -> Room:
    """The room of any form."""
    return _SOFTMAX if isinstance(form, Softmax) else recurrent_room(form)
