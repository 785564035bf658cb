"""An n-gram language model to compare with: interpolated Kneser-Ney smoothing over token ids.

What a recurrent model predicts better than counts of its last few tokens is what its memory is good for (Karpathy et
al. 2015, section 4.2). Chen and Goodman 1999, "An Empirical Study of Smoothing Techniques", section 2.7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError

Gram = tuple[int, ...]


class NgramModel:
    """Probabilities of the next token from the last ``n - 1``; every distribution sums to 1 over the vocabulary.

    The highest order counts occurrences, lower orders count different tokens before (continuation counts); each level
    takes a discount off its counts and hands it on to the level below, the lowest to the uniform distribution.

    Args:
        rows: training tokens, sequence by sequence; n-grams do not cross from one to the next.
        n: tokens an n-gram, the predicted one included.
        vocabulary: how many tokens there are.
        discount: taken off every count; None for ``n1 / (n1 + 2 n2)`` of each order's counts of one and two.

    Raises:
        InputError: no training text of n tokens, tokens outside the vocabulary, a discount outside 0 to 1.
    """

    def __init__(
        self, rows: Iterable[Int[Tensor, " _"]], n: int, vocabulary: int, discount: float | None = None
    ) -> None:
        if n < 1:
            raise InputError(f"n is {n}; an n-gram has at least one token.")
        if discount is not None and not 0 < discount < 1:
            raise InputError(f"discount is {discount}; a number between 0 and 1 is needed.")
        sequences = [row.tolist() for row in rows]
        if any(not 0 <= token < vocabulary for row in sequences for token in row):
            raise InputError(f"A training token is outside the vocabulary of {vocabulary}.")
        self.n, self.vocabulary = n, vocabulary
        counts: Counter[Gram] = Counter()
        for row in sequences:
            counts.update(tuple(row[at : at + n]) for at in range(len(row) - n + 1))
        if not counts:
            raise InputError(f"No training sequence has the {n} tokens of an n-gram.")
        self._orders: list[_Order] = []
        for _ in range(n):
            self._orders.append(_Order(counts, discount))
            counts = Counter(gram[1:] for gram in counts)
        self._orders.reverse()

    def probability(self, context: Gram, token: int) -> float:
        """Of a token after a context, of which the last ``n - 1`` tokens count."""
        found = 1 / self.vocabulary
        for length, order in enumerate(self._orders):
            if length > len(context):
                break
            found = order.interpolated(context[len(context) - length :], token, found)
        return found

    def loss(self, rows: Iterable[Int[Tensor, " _"]]) -> list[Float[np.ndarray, " predicted"]]:
        """Nats for every token but the first of each sequence, as a language model's loss counts them."""
        found = []
        for row in rows:
            tokens = row.tolist()
            chances = [
                self.probability(tuple(tokens[max(0, at - self.n + 1) : at]), tokens[at])
                for at in range(1, len(tokens))
            ]
            found.append(-np.log(np.array(chances)))
        return found


class _Order:
    """Counts of one length, discounted."""

    def __init__(self, counts: Counter[Gram], discount: float | None) -> None:
        self._counts = counts
        self._totals: Counter[Gram] = Counter()
        self._kinds: Counter[Gram] = Counter()
        for gram, count in counts.items():
            self._totals[gram[:-1]] += count
            self._kinds[gram[:-1]] += 1
        once, twice = (sum(count == times for count in counts.values()) for times in (1, 2))
        # Ney, Essen and Kneser 1994; with no n-gram seen once there is nothing to estimate it from.
        self.discount = discount if discount is not None else once / (once + 2 * twice) if once and twice else 0.5

    def interpolated(self, context: Gram, token: int, below: float) -> float:
        total = self._totals[context]
        if total == 0:
            return below
        own = max(0.0, self._counts[(*context, token)] - self.discount)
        return (own + self.discount * self._kinds[context] * below) / total
