"""A shuffled order of many things that is never written down: any of its places is computed by itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

ROUNDS = 4


@dataclass(frozen=True)
class Order:
    """A permutation of ``0 .. count - 1`` for every count: a Feistel network whose rounds are hashes.

    Networks of four rounds of random functions cannot be told from random permutations by who sees few of their values
    (Luby and Rackoff 1988, SIAM J. Comput. 17(2), theorem 2). It takes no memory, so a corpus of any length can be read
    in a shuffled order, from any place on.

    Attributes:
        seed: None leaves everything in its own order.
        epoch: each has an order of its own.
    """

    seed: int | None
    epoch: int = 0

    def of(self, place: int, count: int) -> int:
        """Which of `count` things stands at a place of the order."""
        if self.seed is None or count < 2:
            return place
        half = ((count - 1).bit_length() + 1) // 2
        found = self._network(place, half)
        while found >= count:  # the network permutes a power of four; what lies beyond the count is walked through
            found = self._network(found, half)
        return found

    def _network(self, value: int, half: int) -> int:
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for step in range(ROUNDS):
            word = f"{self.seed} {self.epoch} {step} {right}".encode()
            mixed = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
            left, right = right, left ^ (mixed & mask)
        return left << half | right
