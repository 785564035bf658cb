"""What a lens is: a guess at the last residual stream from an earlier one, read as the model reads its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.probes.lenses.unembedding import Unembedding
from workbench.wrapping import whole_number

if TYPE_CHECKING:
    from workbench.model import HookedModel


class Lens(ABC):
    """Reads logits off the residual stream at any depth.

    Depth ``l`` is what block ``l`` reads; the last depth, ``n_layers``, is what the model itself reads its logits off,
    where every lens is the model.

    Attributes:
        name: what tables and figures call it.
        unembedding: from the last residual stream to logits.
    """

    name: str
    unembedding: Unembedding

    @property
    def model(self) -> HookedModel:
        """The model that is looked at."""
        return self.unembedding.model

    @property
    def n_layers(self) -> int:
        """Blocks of the model, which is also the last depth."""
        return self.model.cfg.n_layers

    @abstractmethod
    def transform(
        self, residual: Float[Tensor, "*positions d_model"], depth: int
    ) -> Float[Tensor, "*positions d_model"]:
        """The guess at the last residual stream.

        Raises:
            InputError: no such depth.
        """

    def logits(
        self, residual: Float[Tensor, "*positions d_model"], depth: int
    ) -> Float[Tensor, "*positions vocabulary"]:
        """The guess at the model's logits. Raises InputError for a depth that does not exist."""
        return self.unembedding(self.transform(residual, depth))

    def depth_index(self, depth: int) -> int:
        """A depth from 0 to `n_layers`; negative ones count from the end. Raises InputError when out of range."""
        depth = whole_number("depth", depth)
        if not -self.n_layers - 1 <= depth <= self.n_layers:
            raise InputError(
                f"Depth {depth} is out of range: {self.model.cfg.model_name} has depths 0 (what its first block reads) "
                f"to {self.n_layers} (what its last one leaves)."
            )
        return depth % (self.n_layers + 1)


class LogitLens(Lens):
    """The earlier residual stream taken for the last one (nostalgebraist 2020, "interpreting GPT: the logit lens").

    The model's own final norm, unembedding, logit scale and soft cap make the logits, whatever its family.
    """

    @checked_call
    def __init__(self, model: HookedModel | Unembedding) -> None:
        self.name = "logit lens"
        self.unembedding = model if isinstance(model, Unembedding) else Unembedding(model)

    def transform(
        self, residual: Float[Tensor, "*positions d_model"], depth: int
    ) -> Float[Tensor, "*positions d_model"]:
        self.depth_index(depth)
        return residual
