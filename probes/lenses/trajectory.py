"""The trajectory of a prediction: what a lens reads at every depth and token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

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

Colour: TypeAlias = Literal["probability", "entropy", "kl", "loss"]


@dataclass(frozen=True)
class Trajectory:
    """What a lens reads at every depth of one text, or of a window of it.

    Attributes:
        lens: its name.
        tokens: text of every token, or its number where the model has no tokenizer.
        top: the lens' likeliest tokens.
        words: their text.
        probability: the likeliest token's.
        entropy: of the lens' distribution, in nats.
        kl: ``KL(model || lens)``, in nats.
        loss: of the text's next token, in nats; NaN at the end of the text.
        rank: of the text's next token among all, 1 the likeliest; 0 at the end of the text.
        first: position of the first of `tokens` in the text.
    """

    lens: str
    tokens: Sequence[str]
    top: Int[Tensor, "depth time"]
    words: Sequence[Sequence[str]]
    probability: Float[Tensor, "depth time"]
    entropy: Float[Tensor, "depth time"]
    kl: Float[Tensor, "depth time"]
    loss: Float[Tensor, "depth time"]
    rank: Int[Tensor, "depth time"]
    first: int = 0

    def table(self) -> pd.DataFrame:
        """One row a depth and token: ``depth``, ``position``, ``token``, ``top``, ``word``, and the five measures."""
        depths, time = self.top.shape
        rows = [
            {
                "depth": depth,
                "position": self.first + position,
                "token": self.tokens[position],
                "top": int(self.top[depth, position]),
                "word": self.words[depth][position],
                "probability": float(self.probability[depth, position]),
                "entropy": float(self.entropy[depth, position]),
                "kl": float(self.kl[depth, position]),
                "loss": float(self.loss[depth, position]),
                "rank": int(self.rank[depth, position]),
            }
            for depth in range(depths)
            for position in range(time)
        ]
        return pd.DataFrame(rows)

    def figure(self, colour: Colour = "probability") -> go.Figure:
        """The likeliest token of every depth and position, over a colour. Raises InputError for an unknown measure."""
        from workbench.probes.lenses.figures import trajectory_map

        check_choice("colour", colour, get_args(Colour))
        return trajectory_map(self, colour)


@checked_call
@torch.no_grad()
def trajectory(lens: Lens, input: ModelInput, *, first: int = 0, count: int | None = None) -> Trajectory:
    """Read one text with a lens, at every depth and token.

    Args:
        lens: the lens.
        input: one text.
        first, count: read `count` tokens from position `first` on, all by default. The model reads the whole text.

    Raises:
        InputError: several texts, or a window that does not lie in the text.
    """
    model = lens.model
    tokens, _ = model.prepared(input, None)
    if len(tokens) != 1:
        raise InputError(f"A trajectory is of one text; these are {len(tokens)}.")
    time = tokens.shape[1]
    count = time - first if count is None else count
    if not (0 <= first < time and 1 <= count <= time - first):
        raise InputError(f"The text has {time} tokens; there are no {count} from position {first} on.")
    window = slice(first, first + count)
    streams = residual_streams(model, tokens)[:, 0, window]
    # The last token of a text has no next one: -1 stands for it.
    following = torch.nn.functional.pad(tokens[0, 1:], (0, 1), value=-1)[window]
    found: list[list[Tensor]] = [[] for _ in range(6)]
    at_once = lens.unembedding.positions_at_once
    for part, next_token in zip(streams.split(at_once, dim=1), following.split(at_once), strict=True):
        target = lens.unembedding.log_probabilities(part[-1])
        rows = [_read(lens, part[depth], depth, target, next_token) for depth in range(lens.n_layers + 1)]
        for column, values in zip(found, zip(*rows, strict=True), strict=True):
            column.append(torch.stack(values))
    top, probability, entropy, kl, loss, rank = (torch.cat(parts, dim=1).cpu() for parts in found)

    def spelled(ids: Tensor) -> list[str]:
        return model.tokens.pieces(ids) if model.tokenizer is not None else [str(token) for token in ids.tolist()]

    words = [spelled(row) for row in top]
    return Trajectory(lens.name, spelled(tokens[0, window]), top, words, probability, entropy, kl, loss, rank, first)


def _read(
    lens: Lens,
    stream: Float[Tensor, "time d_model"],
    depth: int,
    target: Float[Tensor, "time vocabulary"],
    following: Int[Tensor, " time"],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Likeliest token, its probability, entropy, divergence from `target`, loss and rank of the next token."""
    predicted = lens.unembedding.log_probabilities(lens.transform(stream, depth))
    best, top = predicted.max(-1)
    entropy = -(predicted.exp() * predicted).sum(-1)
    divergence = (target.exp() * (target - predicted)).sum(-1)
    known = following >= 0
    of_next = predicted.gather(-1, following.clamp(min=0)[:, None])
    loss = torch.where(known, -of_next[:, 0], torch.nan)
    rank = torch.where(known, 1 + (predicted > of_next).sum(-1), 0)
    return top, best.exp(), entropy, divergence, loss, rank
