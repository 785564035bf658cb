"""Which tokens or n-grams make a unit fire, and how many it takes to account for its firings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.figures.tokens import visible_token
from workbench.model import HookedModel


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """How often each unit fired at each n-gram (at its last token), and how often the n-gram is there at all.

    Attributes:
        grams: the different n-grams of the corpus.
        occurrences: of each.
        fired: at each, by unit.
    """

    grams: Int[Tensor, "grams n"]
    occurrences: Float[Tensor, " grams"]
    fired: Float[Tensor, "grams units"]

    @classmethod
    def empty(cls, grams: Int[Tensor, "grams n"], numbers: Int[Tensor, "windows end"], units: int) -> NgramCounts:
        """Counts of nothing, for a corpus whose n-grams have these numbers."""
        occurrences = torch.bincount(numbers.reshape(-1), minlength=len(grams)).float()
        return cls(grams, occurrences, torch.zeros(len(grams), units))

    def add(self, numbers: Int[Tensor, "windows end"], fired: Float[Tensor, "windows end units"]) -> None:
        """Count some windows: the numbers of their n-grams, and 1 where a unit fired."""
        self.fired.index_add_(0, numbers.reshape(-1), fired.reshape(-1, fired.shape[2]))

    @property
    def n(self) -> int:
        """Tokens an n-gram."""
        return self.grams.shape[1]

    def top(self) -> Int[Tensor, "units n"]:
        """The n-gram at which each unit fired most often (the first of the corpus for a dead unit)."""
        return self.grams[self.fired.argmax(0)]

    def covering(self, cover: float) -> tuple[Int[np.ndarray, " units"], Int[np.ndarray, " units"]]:
        """How many n-grams it takes to cover that share of a unit's firings; and for one that fires at random.

        Both are 0 for a dead unit. A unit that fires at random, as often, needs the commonest n-grams first.
        """
        fired, by_chance = (self._needed(counts, cover) for counts in (self.fired, self.occurrences[:, None]))
        return fired, by_chance * (self.fired.sum(0).numpy() > 0)

    @staticmethod
    def _needed(counts: Float[Tensor, "grams units"], cover: float) -> Int[np.ndarray, " units"]:
        running = counts.sort(0, descending=True).values.cumsum(0)
        # Sums of counts are whole numbers; a rounded share of them must not ask for one n-gram too many.
        short = running < cover * running[-1] - 1e-3
        needed: Int[np.ndarray, " units"] = ((short.sum(0) + 1) * (running[-1] > 0)).numpy()
        return needed

    def columns(self, model: HookedModel, cover: float, few: int) -> dict[str, object]:
        """Columns of `NeuronStatistics.table`."""
        best = self.fired.argmax(0)
        firings = self.fired.sum(0)
        at_best = self.fired.gather(0, best[None])[0]
        covering, by_chance = self.covering(cover)
        alive = firings > 0
        n = self.n
        return {
            f"covering_{n}": covering,
            f"ngram_{n}": [
                gram_text(model, gram) if lives else "" for gram, lives in zip(self.top(), alive.tolist(), strict=True)
            ],
            f"share_{n}": torch.where(alive, at_best / firings.clamp(min=1), torch.nan).numpy(),
            f"rate_{n}": torch.where(alive, at_best / self.occurrences[best], torch.nan).numpy(),
            f"detects_{n}": (covering > 0) & (covering <= few) & (covering < by_chance),
        }


def gram_text(model: HookedModel, gram: Int[Tensor, " n"]) -> str:
    """The text of an n-gram with everything invisible shown; token ids where the model has no tokenizer."""
    if model.tokenizer is None:
        return " ".join(str(token) for token in gram.tolist())
    return visible_token(str(model.to_string(gram)))
