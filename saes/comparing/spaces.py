"""How alike two places of two models are as spaces, on the same text, beside what shuffling leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.comparing.alignment import passages
from workbench.saes.comparing.moments import CrossMoments
from workbench.saes.comparing.similarity import linear_cka_of, rsa, svcca_of
from workbench.saes.comparing.units import Units, paired_values
from workbench.tasks.intervals import Interval, bootstrap_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class SpaceComparison:
    """Similarity of two spaces by three measures; `table` has it all.

    Attributes:
        first, second: what was compared, for people.
        places: tokens of the text at which both were read.
        values, shuffled: by measure (``svcca``, ``cka``, ``rsa``): its value with limits, and its value where the
            second's tokens are shuffled within passages.
    """

    first: str
    second: str
    places: int
    values: dict[str, Interval]
    shuffled: dict[str, float]

    def __repr__(self) -> str:
        return f"SpaceComparison({self.first} with {self.second}, {self.places} places)"

    def table(self) -> pd.DataFrame:
        """One row a ``measure``: ``value``, ``low``, ``high``, ``shuffled``."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"measure": name, "value": one.mean, "low": one.low, "high": one.high, "shuffled": self.shuffled[name]}
                for name, one in self.values.items()
            ]
        )


def compare_spaces(
    first: Units,
    second: Units,
    texts: str | Iterable[str],
    *,
    variance: float = 0.99,
    stimuli: int = 300,
    blocks: int = 20,
    characters: int = 400,
    count: int | None = None,
    batch: int = 8,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> SpaceComparison:
    """SVCCA, linear CKA and RSA of two places of models of any family, whatever their tokenizers.

    Only products of units are kept, and the patterns of a few hundred tokens for RSA. Intervals are of pseudo-values
    (each measure without one block of passages after the other; Efron and Tibshirani 1993, chapter 11), resampled.

    Args:
        variance: of `svcca`.
        stimuli: tokens that RSA compares, drawn from all that both models share.
        blocks: parts of the text, of like numbers of passages, that are left out in turn.
        characters, count: passages; see `workbench.saes.comparing.passages`.
        seed: of shuffling, drawing and resampling.
        progress: show a progress bar.

    Raises:
        InputError: fewer passages than two, a place that never changes, too many units for the memory.
    """
    parts = passages(texts, characters, count)
    blocks = min(blocks, len(parts))
    if blocks < 2:
        raise InputError("Of one passage nothing can be left out, so there is no interval; give more text.")
    generator = torch.Generator().manual_seed(seed)
    kept: list[CrossMoments] = []
    shuffled: CrossMoments | None = None
    drawn = _Drawn(stimuli, generator)
    length = max(len(part) for part in parts)
    size = -(-len(parts) // blocks)
    read = paired_values(first, second, parts, characters=length, batch=batch, progress=progress)
    for number, (one, other) in enumerate(read):
        if number % size == 0:
            kept.append(CrossMoments(one.shape[1], other.shape[1], within=True))
            kept[-1].shift = kept[0].shift
        kept[-1].add(one, other)
        mixed = other[torch.randperm(len(other), generator=generator).to(other.device)]
        if shuffled is None:
            shuffled = CrossMoments(one.shape[1], other.shape[1], within=True)
        shuffled.add(one, mixed)
        drawn.offer(one, other, number // size)
    assert shuffled is not None  # paired_values yields or refuses
    if len(kept) < 2:
        raise InputError("The two models share places in one part of this text only; give more text.")
    whole = _added(kept)
    measures: dict[str, Callable[[CrossMoments], float]] = {
        "svcca": lambda moments: svcca_of(*_covariances(moments), variance=variance),
        "cka": lambda moments: linear_cka_of(*_covariances(moments)),
    }
    values, chance = {}, {}
    for name, measure in measures.items():
        without = [measure(_added([*kept[:out], *kept[out + 1 :]])) for out in range(len(kept))]
        values[name] = _limits(measure(whole), without, level, seed)
        chance[name] = measure(shuffled)
    one, other, block = drawn.values()
    without = [rsa(one[block != out], other[block != out]) for out in sorted(set(block.tolist()))]
    values["rsa"] = _limits(rsa(one, other), without, level, seed)
    chance["rsa"] = rsa(one, other[torch.randperm(len(other), generator=generator)])
    return SpaceComparison(first.name, second.name, whole.count, values, chance)


class _Drawn:
    """A fixed number of tokens, each of a stream with like chance (reservoir sampling)."""

    def __init__(self, most: int, generator: torch.Generator) -> None:
        if most < 10:
            raise InputError(f"stimuli is {most}; RSA compares at least 10.")
        self.most, self.generator, self.seen = most, generator, 0
        self.kept: list[tuple[Tensor, Tensor, int]] = []

    def offer(self, first: Tensor, second: Tensor, block: int) -> None:
        for one, other in zip(first.cpu(), second.cpu(), strict=True):
            self.seen += 1
            if len(self.kept) < self.most:
                self.kept.append((one.clone(), other.clone(), block))
                continue
            place = int(torch.randint(self.seen, (1,), generator=self.generator))
            if place < self.most:
                self.kept[place] = (one.clone(), other.clone(), block)

    def values(
        self,
    ) -> tuple[Float[Tensor, "stimuli first"], Float[Tensor, "stimuli second"], Int[Tensor, " stimuli"]]:
        one, other, block = zip(*self.kept, strict=True)
        return torch.stack(one), torch.stack(other), torch.tensor(block)


def _covariances(moments: CrossMoments) -> tuple[Tensor, Tensor, Tensor]:
    return moments.covariance(1), moments.covariance(2), moments.covariance(0)


def _added(parts: list[CrossMoments]) -> CrossMoments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _limits(value: float, without: list[float], level: float, seed: int) -> Interval:
    """The value with limits that lie about it as those of the pseudo-values' mean lie about that mean."""
    n = len(without)
    if n < 2:
        return Interval(value, float("nan"), float("nan"))
    pseudo = torch.tensor([n * value - (n - 1) * one for one in without], dtype=torch.float64)
    mean, low, high = bootstrap_mean(pseudo, level=level, seed=seed)
    return Interval(value, value + low - mean, value + high - mean)
