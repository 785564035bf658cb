"""A lens on the recurrent state: what a layer's memory, read on its own, would have the model say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.probes.lenses.least_squares import AffineMap, LeastSquares
from workbench.probes.lenses.residuals import residual_streams
from workbench.probes.lenses.unembedding import Unembedding
from workbench.progress import tracked

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import HookedModel

# The sums are a matrix of the features' square: 8192 take 537 MB in float64.
MOST_FEATURES = 8192


@dataclass(frozen=True)
class StateLens:
    """Reads the last residual stream, and so logits, off the recurrent state of one layer.

    Attributes:
        unembedding: from the last residual stream to logits.
        layer, mixer: whose state.
        head: which head's state alone, or None for all heads together.
        map: from the flattened state after a token to the last residual stream at that token.
    """

    unembedding: Unembedding
    layer: int
    mixer: int
    head: int | None
    map: AffineMap

    def transform(self, state: Float[Tensor, "*steps heads key value"]) -> Float[Tensor, "*steps d_model"]:
        """The guess at the last residual stream from states as `HookedModel.recurrent_states` gives them."""
        return self.map(_features(state, self.head))

    def logits(self, state: Float[Tensor, "*steps heads key value"]) -> Float[Tensor, "*steps vocabulary"]:
        """The guess at the model's logits."""
        return self.unembedding(self.transform(state))

    def evaluate(
        self,
        tokens: Int[Tensor, "sequences time"],
        positions: Sequence[int] | None = None,
        *,
        level: float = 0.95,
        seed: int = 0,
    ) -> pd.DataFrame:
        """How well the guesses fit the model's own distribution.

        Args:
            tokens: sequences without padding.
            positions: after which tokens, all by default.
            level: coverage of the bootstrap intervals over sequences.
            seed: of the bootstrap.

        Returns:
            One row: ``layer``, ``mixer``, ``head``, ``kl`` (``KL(model || lens)``, nats), ``precision@1`` (how often
            both have the same likeliest token), each with ``_low`` and ``_high``.

        Raises:
            InputError: as `HookedModel.recurrent_states`.
        """
        import pandas as pd

        from workbench.tasks import bootstrap_means

        model, found = self.unembedding.model, []
        for row in tokens:
            state, stream = _pair(model, row[None], self.layer, self.mixer, positions)
            with torch.no_grad():
                target = self.unembedding.log_probabilities(stream[0])
                predicted = self.unembedding.log_probabilities(self.transform(state[0]))
                divergence = (target.exp() * (target - predicted)).sum(-1)
                same = (target.argmax(-1) == predicted.argmax(-1)).double()
            found.append(torch.stack([divergence.double().mean(), same.mean()]).cpu())
        mean, low, high = bootstrap_means(torch.stack(found), level=level, seed=seed)
        measured: dict[str, object] = {
            "layer": self.layer,
            "mixer": self.mixer,
            "head": -1 if self.head is None else self.head,
        }
        for number, name in enumerate(("kl", "precision@1")):
            measured |= {name: float(mean[number])}
            measured |= {f"{name}_low": float(low[number]), f"{name}_high": float(high[number])}
        return pd.DataFrame([measured])


@checked_call
def fit_state_lens(
    model: HookedModel,
    tokens: Int[Tensor, "sequences time"],
    layer: int,
    *,
    mixer: int = 0,
    head: int | None = None,
    positions: Sequence[int] | None = None,
    ridge: float = 1e-3,
    rank: int | None = None,
    progress: bool = False,
) -> StateLens:
    """Fit a lens on the state that a layer's mixer keeps, by ridge regression in float64 over running sums.

    Args:
        tokens: sequences without padding.
        layer, mixer: whose state; any recurrent family.
        head: one head's state alone; None for all heads together.
        positions: after which tokens states are taken, all by default; fewer are faster, and less alike.
        ridge: see `LeastSquares.solve`.
        rank: of the map at most; None for no limit.
        progress: show a progress bar.

    Raises:
        InputError: no such layer, head or position, a mixer without a recurrent state, or a state too large to be
            fitted as a whole.
    """
    unembedding = Unembedding(model)
    layer = model.layer_index(layer)
    sums: LeastSquares | None = None
    chosen = None if head is None else model.head_index(layer, head, mixer)
    for row in tracked(tokens, progress, "fitting a lens on states"):
        state, stream = _pair(model, row[None], layer, mixer, positions)
        features = _features(state[0], chosen)
        if features.shape[-1] > MOST_FEATURES:
            raise InputError(
                f"The state of layer {layer} has {features.shape[-1]} numbers; at most {MOST_FEATURES} are fitted at "
                "once. Give a head."
            )
        sums = sums or LeastSquares(features.shape[-1], stream.shape[-1], model.cfg.device)
        sums.add(features, stream[0])
    if sums is None:
        raise InputError("There are no sequences to fit a lens to.")
    return StateLens(unembedding, layer, mixer, chosen, sums.solve(ridge=ridge, rank=rank))


def _pair(
    model: HookedModel, row: Int[Tensor, "one time"], layer: int, mixer: int, positions: Sequence[int] | None
) -> tuple[Float[Tensor, "one steps heads key value"], Float[Tensor, "one steps d_model"]]:
    """States after the chosen tokens, and the last residual stream there."""
    states = model.recurrent_states(row, layer, positions, mixer=mixer)
    stream = residual_streams(model, row)[-1]
    return states, stream if positions is None else stream[:, [int(step) for step in positions]]


def _features(state: Float[Tensor, "*steps heads key value"], head: int | None) -> Float[Tensor, "*steps features"]:
    return state.flatten(-3) if head is None else state[..., head, :, :].flatten(-2)
