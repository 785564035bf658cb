"""Steering: a direction is added to an activation, in a forward pass or all through a generation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.base import Intervention
from workbench.interventions.positions import Positions, When
from workbench.interventions.selection import Selection, selections
from workbench.interventions.steering_vector import SteeringVector
from workbench.model import HookedModel
from workbench.sites import SiteLike
from workbench.wrapping import ModelInput

Norm: TypeAlias = Literal["raw", "unit", "matched"]


class Steer(Intervention):
    """Add ``alpha`` times a vector to what passes at a hook (Turner et al. 2023, arXiv:2308.10248).

    It acts on every token of the prompt and on every generated one, unless positions say otherwise. On ``hook_state``
    the vector goes into a recurrent layer's memory after each step (or after chosen ones), so what was added at one
    step is still there, decayed, at the next, and adding at every step adds up (Paulo et al. 2024, arXiv:2404.05971,
    section 4).

    Args:
        vector: a `SteeringVector`, or one tensor shaped like an activation without its batch and time axes, for all
            places in `at`.
        at: sites or hook names; by default those of the steering vector.
        alpha: strength; 0 changes nothing and a negative number steers away.
        positions: tokens (or steps of a state) to steer; all by default, those yet to be generated included.
        norm: ``"raw"`` adds the vector as it is, ``"unit"`` one of norm 1, ``"matched"`` one of the norm of the
            activation it is added to: then `alpha` 1 adds as much as there is.

    Raises:
        InputError: no place, a zero vector to be normalised, or an option that does not exist.
    """

    def __init__(
        self,
        vector: SteeringVector | Tensor,
        at: SiteLike | Iterable[SiteLike] | None = None,
        alpha: float = 1.0,
        positions: Positions = None,
        *,
        norm: str = "raw",
        heads: Sequence[int] | int | None = None,
    ) -> None:
        if norm not in get_args(Norm):
            raise InputError(f"No norm is called {norm!r}; there is: {', '.join(get_args(Norm))}.")
        if at is None and not isinstance(vector, SteeringVector):
            raise InputError("A bare tensor does not say where it is added; give at=, a hook name or a site.")
        self.vector, self.alpha, self.norm = vector, alpha, norm
        self.at: SiteLike | list[SiteLike] | None = at if at is None or isinstance(at, str) else _listed(at)
        self.when = When.of(positions)
        self.heads = heads
        for value in vector.values.values() if isinstance(vector, SteeringVector) else [vector]:
            if not bool(value.isfinite().all()):
                raise InputError("A steering vector holds NaN or an infinity.")
            if norm != "raw" and not bool(value.any()):
                raise InputError(f"A steering vector is zero and has no direction to be {norm}.")

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks that steer; see `Intervention.hooks`. Steps of a state that count from the end need `tokens`."""
        time = None if tokens is None else model.prepared(tokens, attention_mask)[0].shape[1]
        at = self.at
        if at is None:
            assert isinstance(self.vector, SteeringVector)  # __init__ asks for a place otherwise
            self.vector.check_fits(model)
            at = list(self.vector.values)
        return [self._hook(model, one, time) for one in selections(model, at, self.heads, None, self.when)]

    def _hook(self, model: HookedModel, selection: Selection, time: int | None) -> tuple[str, HookFunction]:
        vector = self.vector if isinstance(self.vector, Tensor) else direction_at(self.vector, selection.name)

        def change(tensor: Tensor, hook: HookPoint) -> Tensor:
            return steered(tensor, hook, vector, self.alpha, self.norm)

        return selection.hook(model, change, time)


def direction_at(vector: SteeringVector, name: str) -> Tensor:
    """A steering vector's direction for a hook: its own, or the only one there is. Raises InputError without one."""
    if name in vector.values:
        return vector.values[name]
    if len(vector.values) == 1:
        return next(iter(vector.values.values()))
    raise InputError(f"The steering vector has none for {name}; it has: {', '.join(vector.values)}.")


def steered(tensor: Tensor, hook: HookPoint, vector: Tensor, alpha: float, norm: str) -> Tensor:
    """What passed at a hook with ``alpha`` times a vector added; see `Steer`.

    Raises:
        InputError: the vector has another shape than the activation of one token.
    """
    shape = tensor.shape[1:] if hook.per_step else tensor.shape[2:]
    if vector.shape != shape:
        raise InputError(f"{hook.name} takes a vector of shape {[*shape]}, not {[*vector.shape]}.")
    # In float32 at least: half precision loses the squares of small entries.
    direction = vector.to(tensor.device, torch.promote_types(tensor.dtype, torch.float32))
    if norm != "raw":
        direction = direction / direction.norm()
    if norm == "matched":
        axes = tuple(range(tensor.dim() - vector.dim(), tensor.dim()))
        direction = direction * torch.linalg.vector_norm(tensor.to(direction), dim=axes, keepdim=True)
    return tensor + (alpha * direction).to(tensor.dtype)


def _listed(at: SiteLike | Iterable[SiteLike]) -> SiteLike | list[SiteLike]:
    return list(at) if isinstance(at, Iterable) else at
