"""Scaling: a head, some units, or a low-rank channel between parts of a model, made louder or softer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.base import Intervention
from workbench.interventions.positions import Positions, When
from workbench.interventions.selection import Selection, selections
from workbench.model import HookedModel
from workbench.sites import SiteLike
from workbench.wrapping import ModelInput


class Scale(Intervention):
    """Multiply what passes at a place, or only its part in a subspace: ``x + (factor - 1) P (x - centre)``.

    With the left singular vectors that one head writes along and another reads, the subspace is their communication
    channel (Merullo, Eickhoff and Pavlick 2024, "Talking Heads", arXiv:2406.09519); on a mixer's ``hook_in`` only that
    mixer hears the change.

    Args:
        at: sites (a head: ``"L5H1"``) or hook names.
        factor: 1 changes nothing, 0 takes the part away, -1 turns it round.
        subspace: ``[width, rank]`` or ``[width]``, columns that span it along the tensor's last axis; they need not be
            orthonormal. None for everything.
        centre: ``[width]``, what counts as silence; zero by default.
        positions: tokens, or steps of a state; all by default.
        heads: numbers of heads (or groups), for hook names.
        units: numbers along the last axis, for hook names.

    Raises:
        InputError: the columns are not independent or of another width, or units and a subspace at once.
    """

    def __init__(
        self,
        at: SiteLike | Iterable[SiteLike],
        factor: float,
        *,
        subspace: Float[Tensor, ...] | None = None,
        centre: Float[Tensor, " width"] | None = None,
        positions: Positions = None,
        heads: Sequence[int] | int | None = None,
        units: Sequence[int] | int | None = None,
    ) -> None:
        if subspace is not None and units is not None:
            raise InputError("A subspace says what is scaled along the last axis; units= does so another way.")
        self.at, self.factor, self.centre = at, factor, centre
        self.heads, self.units = heads, units
        self.when = When.of(positions)
        self.basis = None if subspace is None else orthonormal(subspace)

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks that scale; see `Intervention.hooks`. Steps of a state that count from the end need `tokens`."""
        time = None if tokens is None else model.prepared(tokens, attention_mask)[0].shape[1]
        chosen = selections(model, self.at, self.heads, self.units, self.when)
        return [self._hook(model, one, time) for one in chosen]

    def _hook(self, model: HookedModel, selection: Selection, time: int | None) -> tuple[str, HookFunction]:
        def change(tensor: Tensor, hook: HookPoint) -> Tensor:
            width = tensor.shape[-1]
            for what, part in (("subspace", self.basis), ("centre", self.centre)):
                if part is not None and len(part) != width:
                    raise InputError(f"{hook.name} is {width} wide, and the {what} {len(part)}.")
            part = tensor if self.centre is None else tensor - self.centre.to(tensor)
            if self.basis is not None:
                basis = self.basis.to(tensor)
                part = part @ basis @ basis.T
            return tensor + (self.factor - 1) * part

        return selection.hook(model, change, time)


def orthonormal(columns: Float[Tensor, ...]) -> Float[Tensor, "width rank"]:
    """An orthonormal basis of what the columns span.

    Raises:
        InputError: they are linearly dependent, or no matrix.
    """
    matrix = columns.detach().double().cpu()
    matrix = matrix[:, None] if matrix.dim() == 1 else matrix
    if matrix.dim() != 2 or matrix.shape[1] == 0:
        raise InputError(f"A subspace is [width, rank] or [width], not {[*columns.shape]}.")
    rank = int(torch.linalg.matrix_rank(matrix))
    if rank < matrix.shape[1]:
        raise InputError(f"The {matrix.shape[1]} columns of the subspace span only {rank} dimensions.")
    basis: Tensor = torch.linalg.qr(matrix).Q
    return basis
