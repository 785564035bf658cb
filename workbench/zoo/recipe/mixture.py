"""What the model sees: English, and copying tasks that make in-context copying worth learning.

A batch is a pure function of (seed, step, schedule), so a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

IGNORE = -100  # a target that carries no loss: random tokens that nothing could predict
SHORTEST = 4
MOST_BETWEEN = 96
TOKENS = 1024  # a batch of short sequences has as many of them as make up this


def rows_of(context: int, least: int) -> int:
    """Sequences in a batch: more of them while they are short."""
    return max(least, TOKENS // context)


@dataclass(frozen=True)
class Schedule:
    """Piecewise-linear curves over the steps of a run; a negative step counts back from the end.

    Copying starts with short blocks in short sequences: a query then has few sources to choose from, and what it
    learns from each is clearer. In sequences of 256, plain attention had not begun to copy after 700 steps.

    So the copying stage takes the same number of steps however long the run is, and the text-heavy end is always
    whole. ``copy``: share of sequences that are copying tasks. ``context``: tokens a sequence. ``longest``: longest
    block in tokens. ``gaps``: share of the copying tasks whose copies are separated by other tokens rather than
    adjacent. ``real``: share of them whose blocks are English rather than random tokens. ``rate``: share of the
    peak learning rates.
    """

    copy: tuple[tuple[int, float], ...] = ((0, 0.9), (1000, 0.9), (2000, 0.5), (-1500, 0.4), (-500, 0.15), (-1, 0.15))
    context: tuple[tuple[int, float], ...] = (
        (0, 32), (299, 32), (300, 64), (599, 64), (600, 128), (999, 128), (1000, 256), (-1, 256),
    )  # fmt: skip
    longest: tuple[tuple[int, float], ...] = ((0, 8), (300, 8), (600, 16), (1000, 32), (1800, 64), (-1, 64))
    gaps: tuple[tuple[int, float], ...] = ((0, 0.0), (500, 0.0), (1000, 0.5), (-1, 0.5))
    real: tuple[tuple[int, float], ...] = ((0, 0.0), (500, 0.0), (1500, 0.25), (-1, 0.25))
    rate: tuple[tuple[int, float], ...] = ((0, 0.01), (100, 1.0), (-2000, 1.0), (-1, 0.02))

    def at(self, curve: str, step: int, steps: int) -> float:
        """The curve's value at one step of a run of ``steps``."""
        points = [(at if at >= 0 else max(at + steps, 0), value) for at, value in getattr(self, curve)]
        return float(np.interp(step, [at for at, _ in points], [value for _, value in points]))


class Mixture:
    """Draws batches of ``(inputs, targets)``, both ``[batch, time]``, targets being the next tokens."""

    def __init__(self, text: np.ndarray, vocab_size: int, bos: int, schedule: Schedule, seed: int):
        self.text, self.vocab_size, self.bos = text, vocab_size, bos
        self.schedule, self.seed = schedule, seed

    def batch(self, step: int, steps: int, size: int) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """The batch of one step. Each sequence is a copying task with the scheduled share, else English."""
        random = np.random.default_rng([self.seed, step])
        now = {curve.name: self.schedule.at(curve.name, step, steps) for curve in fields(Schedule)}
        # Rounded at random, so that a batch of eight at a share of 0.2 holds one or two tasks, never none for long.
        length = int(now["context"]) + 1
        size = rows_of(length - 1, size)
        tasks = int(now["copy"] * size + random.random())
        rows = [self._task(random, now, length) if i < tasks else self._english(random, length) for i in range(size)]
        tokens, known = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return tokens[:, :-1], tokens[:, 1:].masked_fill(~known[:, 1:], IGNORE)

    def _english(self, random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = self._segment(random, size).copy()
        if random.random() < 0.5:
            tokens[0] = self.bos
        return tokens, np.ones(size, bool)

    def _segment(self, random: np.random.Generator, length: int) -> np.ndarray:
        start = random.integers(len(self.text) - length)
        return self.text[start : start + length]

    def _task(self, random: np.random.Generator, now: dict[str, float], size: int) -> tuple[np.ndarray, np.ndarray]:
        """Blocks of tokens, each recurring a few times, until the sequence is full.

        Two to five copies a block rather than one block throughout: a batch then holds many more blocks, and there
        is no fixed distance to learn instead of copying. ``known`` marks the predictable tokens.
        """
        real, gaps = random.random() < now["real"], random.random() < now["gaps"]
        pieces, known, filled = [], [], 0
        if random.random() < 0.5:
            pieces, known, filled = [np.array([self.bos])], [np.array([False])], 1
        while filled < size:
            # Log-uniform lengths: as many blocks of 4..8 as of 32..64.
            length = int(np.exp(random.uniform(np.log(SHORTEST), np.log(now["longest"] + 1))))
            block = self._segment(random, length) if real else self._noise(random, length)
            for copy in range(2 + min(int(random.geometric(0.5)) - 1, 3)):
                if gaps and copy:
                    between = int(random.integers(1, min(2 * length, MOST_BETWEEN)))
                    pieces.append(self._segment(random, between) if real else self._noise(random, between))
                    known.append(np.full(between, real))
                pieces.append(block)
                seen = np.full(length, copy > 0 or real)
                # Nothing announces a new block, nor a copy after a gap: the first token cannot be known.
                seen[0] = copy > 0 and not gaps
                known.append(seen)
            filled = sum(map(len, pieces))
        return np.concatenate(pieces)[:size].astype(np.int64), np.concatenate(known)[:size]

    def _noise(self, random: np.random.Generator, length: int) -> np.ndarray:
        """Distinct tokens, uniform over the vocabulary without the special token."""
        return 1 + random.choice(self.vocab_size - 1, size=length, replace=False)
