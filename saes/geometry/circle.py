"""Circles: a plane in which a cyclic variable is an angle, and patching it to another angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction
from workbench.interventions import Intervention
from workbench.model import HookedModel
from workbench.saes.site import VectorSite
from workbench.wrapping import ModelInput


@dataclass(frozen=True, eq=False)
class Circle:
    """Where a cyclic variable lies in vectors: ``centre + cos(angle) cosine + sin(angle) sine``.

    Attributes:
        centre: mean vector.
        cosine, sine: images of the two coordinates of the unit circle.
        plane: orthonormal rows that span them.
        explained: share of the variance in the plane that the circle explains, on the vectors it was fitted on.
    """

    centre: Float[Tensor, " d"]
    cosine: Float[Tensor, " d"]
    sine: Float[Tensor, " d"]
    plane: Float[Tensor, "2 d"]
    explained: float

    def point(self, angle: float | Float[Tensor, "*batch"]) -> Float[Tensor, "*batch d"]:
        """The vector of an angle in radians."""
        at = torch.as_tensor(angle, dtype=self.centre.dtype)[..., None]
        return self.centre + at.cos() * self.cosine + at.sin() * self.sine

    def angle(self, vectors: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The angle that a vector's part in the plane is nearest to, in radians from 0 to 2 pi."""
        images = torch.stack([self.cosine, self.sine], 1)
        found = torch.linalg.pinv(images) @ (vectors.to(images) - self.centre).unsqueeze(-1)
        return torch.atan2(found[..., 1, 0], found[..., 0, 0]) % (2 * torch.pi)


def fit_circle(vectors: Float[Tensor, "rows d"], angles: Float[Tensor, " angles"] | Sequence[float]) -> Circle:
    """Least-squares circle: what of a vector an angle explains (Engels et al. 2024, arXiv:2405.14860, section 5).

    Args:
        angles: of each vector, in radians: ``2 pi day / 7``.

    Raises:
        InputError: another number of angles than of vectors, or angles that do not fix a plane.
    """
    at = torch.as_tensor(angles, dtype=torch.float64)
    if len(at) != len(vectors):
        raise InputError(f"There are {len(at)} angles for {len(vectors)} vectors; one a vector is needed.")
    design = torch.stack([torch.ones_like(at), at.cos(), at.sin()], 1)
    if len(at) < 3 or int(torch.linalg.matrix_rank(design, tol=1e-6)) < 3:
        raise InputError("A circle takes vectors of at least three different angles.")
    x = vectors.detach().double().cpu()
    weights = torch.linalg.lstsq(design, x, driver="gelsd").solution
    plane = torch.linalg.qr(weights[1:].T)[0].T
    flat, made = (x - weights[0]) @ plane.T, (design[:, 1:] @ weights[1:]) @ plane.T
    explained = 1 - float((flat - made).square().sum() / (flat - flat.mean(0)).square().sum().clamp(min=1e-300))
    return Circle(weights[0], weights[1], weights[2], plane, explained)


class CirclePatch(Intervention):
    """Move what passes at a site to another angle of a circle, and leave all else as it is (Engels et al., section 5).

    Args:
        circle: where the variable lies; see `fit_circle`.
        site: where.
        angle: the new angle in radians; or ``turn``, to add to the angle that is there.
        position: which token, as an index into the text; None for all that the site reads. Not for states.
        rest: ``"keep"`` what lies outside the plane, or ``"mean"``, to put the circle's centre in its place, so that
            only the circle can tell.

    Raises:
        InputError: neither or both of `angle` and `turn`, or another `rest`.
    """

    def __init__(
        self,
        circle: Circle,
        site: VectorSite,
        *,
        angle: float | None = None,
        turn: float | None = None,
        position: int | None = None,
        rest: str = "keep",
    ) -> None:
        if (angle is None) == (turn is None):
            raise InputError("Give the new angle, or the turn from the old one, and not both.")
        if rest not in ("keep", "mean"):
            raise InputError(f"rest is {rest!r}; it is 'keep' or 'mean'.")
        self.circle, self.site, self.angle, self.turn = circle, site, angle, turn
        self.position, self.rest = position, rest

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """See `Intervention.hooks`; with a `position`, of texts without padding on the left.

        Raises:
            InputError: a `position` in a recurrent state, whose place is `VectorSite.every`.
        """
        if self.position is not None and model.points[self.site.hook].per_step:
            raise InputError("A state is patched after the tokens that its site reads; leave position out.")
        return [self.site.editor(model, self._patched)]

    def _patched(self, vectors: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        if self.position is None:
            return self._moved(vectors)
        new = vectors.clone()
        new[:, self.position] = self._moved(vectors[:, self.position])
        return new

    def _moved(self, vectors: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        own = vectors.to(self.circle.centre)
        if self.turn is not None:
            goal = self.circle.point(self.circle.angle(own) + self.turn)
        else:
            assert self.angle is not None
            goal = self.circle.point(self.angle).expand_as(own)
        if self.rest == "mean":
            return goal.to(vectors)
        plane = self.circle.plane
        return (own + (goal - own) @ plane.T @ plane).to(vectors)


def angles_of(values: Sequence[int] | np.ndarray, period: int) -> Float[Tensor, " values"]:
    """Angles of whole numbers that come round: days of the week have a period of 7. Raises InputError below 3."""
    if period < 3:
        raise InputError(f"period is {period}; a circle has at least 3 places.")
    return 2 * torch.pi * torch.as_tensor(np.asarray(values), dtype=torch.float64) / period
