"""The trajectory of a prediction: what a lens reads at every depth and token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.probes.lenses.lens import Lens
from workbench.probes.lenses.residuals import residual_streams
from workbench.tokens import check_choice

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.wrapping import ModelInput

Colour: TypeAlias = Literal["probability", "entropy", "kl"]


@dataclass(frozen=True)
class Trajectory:
    """What a lens reads at every depth of one text.

    Attributes:
        lens: its name.
        tokens: text of every token, or its number where the model has no tokenizer.
        top: the lens' likeliest tokens.
        words: their text.
        probability: the likeliest token's.
        entropy: of the lens' distribution, in nats.
        kl: ``KL(model || lens)``, in nats.
    """

    lens: str
    tokens: Sequence[str]
    top: Int[Tensor, "depth time"]
    words: Sequence[Sequence[str]]
    probability: Float[Tensor, "depth time"]
    entropy: Float[Tensor, "depth time"]
    kl: Float[Tensor, "depth time"]

    def table(self) -> pd.DataFrame:
        """One row a depth and token: ``depth``, ``position``, ``token``, ``top``, ``word``, and the three measures."""
        depths, time = self.top.shape
        rows = [
            {
                "depth": depth,
                "position": position,
                "token": self.tokens[position],
                "top": int(self.top[depth, position]),
                "word": self.words[depth][position],
                "probability": float(self.probability[depth, position]),
                "entropy": float(self.entropy[depth, position]),
                "kl": float(self.kl[depth, position]),
            }
            for depth in range(depths)
            for position in range(time)
        ]
        return pd.DataFrame(rows)

    def figure(self, colour: Colour = "probability") -> go.Figure:
        """The likeliest token of every depth and position, over a colour. Raises InputError for an unknown measure."""
        from workbench.probes.lenses.figures import trajectory_map

        check_choice("colour", colour, ("probability", "entropy", "kl"))
        return trajectory_map(self, colour)


@checked_call
@torch.no_grad()
def trajectory(lens: Lens, input: ModelInput) -> Trajectory:
    """Read one text with a lens, at every depth and token.

    Raises:
        InputError: several texts.
    """
    model = lens.model
    tokens, _ = model.prepared(input, None)
    if len(tokens) != 1:
        raise InputError(f"A trajectory is of one text; these are {len(tokens)}.")
    streams = residual_streams(model, tokens)[:, 0]
    found: list[list[Tensor]] = [[], [], [], []]
    for part in streams.split(lens.unembedding.positions_at_once, dim=1):
        target = lens.unembedding.log_probabilities(part[-1])
        rows = [_read(lens, part[depth], depth, target) for depth in range(lens.n_layers + 1)]
        for column, values in zip(found, zip(*rows, strict=True), strict=True):
            column.append(torch.stack(values))
    top, probability, entropy, kl = (torch.cat(parts, dim=1).cpu() for parts in found)

    def spelled(ids: Tensor) -> list[str]:
        return model.tokens.pieces(ids) if model.tokenizer is not None else [str(token) for token in ids.tolist()]

    words = [spelled(row) for row in top]
    return Trajectory(lens.name, spelled(tokens[0]), top, words, probability, entropy, kl)


def _read(
    lens: Lens, stream: Float[Tensor, "time d_model"], depth: int, target: Float[Tensor, "time vocabulary"]
) -> tuple[Int[Tensor, " time"], Float[Tensor, " time"], Float[Tensor, " time"], Float[Tensor, " time"]]:
    predicted = lens.unembedding.log_probabilities(lens.transform(stream, depth))
    best, top = predicted.max(-1)
    entropy = -(predicted.exp() * predicted).sum(-1)
    divergence = (target.exp() * (target - predicted)).sum(-1)
    return top, best.exp(), entropy, divergence
