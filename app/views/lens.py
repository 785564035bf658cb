"""What a model would say if it stopped earlier: grids of top tokens, one cell in full, curves over depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from workbench.app.views.scripts import script
from workbench.errors import InputError
from workbench.figures.tokens import visible_token
from workbench.model import HookedModel
from workbench.probes import lenses
from workbench.probes.lenses import Lens, Trajectory

TOP = 10
"""Predictions that a cell shows in full."""

MEASURES = {
    "probability": "probability of the top token",
    "entropy": "entropy, nats",
    "kl": "KL to the model, nats",
    "loss": "loss of the next token, nats",
}
"""What can colour a grid."""

CURVES = ("entropy", "kl", "loss")
"""What is drawn over depth."""


@dataclass(frozen=True)
class Grid:
    """One lens over a window of the text.

    Attributes:
        shown: everything the lens reads.
        total: tokens of the whole text.
    """

    shown: Trajectory
    total: int

    @property
    def depths(self) -> int:
        """Rows: the embedding and what each block leaves."""
        return len(self.shown.words)

    def values(self, measure: str) -> Float[np.ndarray, "depth time"]:
        """One of `MEASURES`, a row a depth."""
        found: Float[np.ndarray, "depth time"] = getattr(self.shown, measure).float().numpy()
        return found


@dataclass(frozen=True)
class Cell:
    """What a lens says at one depth and position.

    Attributes:
        position: in the text.
        read: the token read there.
        following: the text's next token; None at its end.
        rank: of the next token among all, 1 the likeliest; None at the end.
        chance: its probability; None at the end.
        entropy, kl: of the lens, in nats.
        words, probabilities: the likeliest tokens, best first.
        ids: their numbers.
        final: what the model itself gives each of them.
    """

    position: int
    depth: int
    read: str
    following: str | None
    rank: int | None
    chance: float | None
    entropy: float
    kl: float
    words: tuple[str, ...]
    ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    final: tuple[float, ...]


def read_grid(lens: Lens, prompt: str, first: int, count: int) -> Grid:
    """Read a window of a text with a lens; a window that reaches beyond the text's end is cut.

    Raises:
        InputError: the window begins behind the text.
    """
    tokens = lens.model.to_tokens(prompt)
    total = int(tokens.shape[1])
    if first >= total:
        raise InputError(f"The text has {total} tokens, numbered from 0; there is no position {first}.")
    return Grid(lenses.trajectory(lens, tokens, first=first, count=min(count, total - first)), total)


@torch.no_grad()
def read_cell(lens: Lens, prompt: str, depth: int, position: int, top: int = TOP) -> Cell:
    """What a lens says at one depth and position, beside what the model says in the end."""
    model = lens.model
    tokens = model.to_tokens(prompt)
    streams = lenses.residual_streams(model, tokens)[:, 0, position]
    predicted = lens.unembedding.log_probabilities(lens.transform(streams[depth], depth))
    final = lens.unembedding.log_probabilities(streams[-1])
    best = predicted.topk(min(top, len(predicted)))
    following = int(tokens[0, position + 1]) if position + 1 < tokens.shape[1] else None
    return Cell(
        position=position,
        depth=depth,
        read=_spelled(model, [int(tokens[0, position])])[0],
        following=None if following is None else _spelled(model, [following])[0],
        rank=None if following is None else 1 + int((predicted > predicted[following]).sum()),
        chance=None if following is None else float(predicted[following].exp()),
        entropy=float(-(predicted.exp() * predicted).sum()),
        kl=float((final.exp() * (final - predicted)).sum()),
        words=tuple(_spelled(model, best.indices.tolist())),
        ids=tuple(best.indices.tolist()),
        probabilities=tuple(best.values.exp().tolist()),
        final=tuple(final[best.indices].exp().tolist()),
    )


def depth_names(depths: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and whole names of the rows of a grid, depth 0 first: the last is the model itself."""
    labels = [str(depth) for depth in range(depths)]
    labels[-1] += " final"
    names = [f"depth {depth} (after {depth} block{'s' if depth > 1 else ''})" for depth in range(depths)]
    names[0], names[-1] = "depth 0 (the embedding)", f"depth {depths - 1} (the model's own prediction)"
    return tuple(labels), tuple(names)


def _spelled(model: HookedModel, ids: Sequence[int]) -> list[str]:
    return model.tokens.pieces(torch.tensor(ids)) if model.tokenizer is not None else [str(token) for token in ids]


def described(cell: Cell) -> str:
    """A cell in a sentence or two."""
    where = f"Position {cell.position} “{visible_token(cell.read)}”, depth {cell.depth}: "
    apart = f"KL to the model's final prediction {cell.kl:.2f} nats, entropy {cell.entropy:.2f} nats. "
    if cell.following is None:
        return where + apart + "The text ends here, so there is no next token to compare with."
    return (
        where + apart + f"The text goes on with “{visible_token(cell.following)}”: rank {cell.rank:,}, "
        f"probability {cell.chance:.3f}."
    )


def grid_code(model: str, prompt: str, folder: str | None, first: int, count: int, measure: str) -> str:
    """Python for `read_grid`; `folder` holds the tuned lens, None for the logit lens."""
    return script(
        model,
        prompt,
        f"lens = {_lens(folder)}\n"
        f"shown = lenses.trajectory(lens, tokens, first={first}, count={count})\n"
        f"values = shown.{measure}  # [depth, time]: {MEASURES[measure]}\n"
        f'figure = shown.figure("{measure}")  # figure.show()',
        "from workbench.probes import lenses",
    )


def cell_code(model: str, prompt: str, folder: str | None, depth: int, position: int) -> str:
    """Python for `read_cell`."""
    return script(
        model,
        prompt,
        f"lens = {_lens(folder)}\n"
        f"streams = lenses.residual_streams(model, tokens)[:, 0, {position}]  # [depth, d_model]\n"
        f"predicted = lens.unembedding.log_probabilities(lens.transform(streams[{depth}], {depth}))\n"
        "final = lens.unembedding.log_probabilities(streams[-1])\n"
        f"best = predicted.exp().topk({TOP})\n"
        "print(model.tokens.pieces(best.indices), best.values)\n"
        "kl = (final.exp() * (final - predicted)).sum()  # nats",
        "from workbench.probes import lenses",
    )


def curves_code(model: str, prompt: str, folders: dict[str, str | None], first: int, count: int) -> str:
    """Python for the curves over depth."""
    reads = "\n".join(
        f"{name} = lenses.trajectory({_lens(folder)}, tokens, first={first}, count={count})"
        for name, folder in folders.items()
    )
    return script(
        model,
        prompt,
        f"{reads}\nfor shown in ({', '.join(folders)},):\n"
        "    print(shown.lens, shown.entropy.mean(1), shown.kl.mean(1), shown.loss.nanmean(1))  # a number a depth",
        "from workbench.probes import lenses",
    )


def _lens(folder: str | None) -> str:
    return "lenses.LogitLens(model)" if folder is None else f"lenses.load_tuned_lens({folder!r}, model)"
