"""Sums over tokens that correlations are made of: nothing that grows with the text is kept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError

MOST_BYTES = 3 * 2**30
ROWS_AT_ONCE = 512
IN_FLOAT64 = 2**26
"""Products of more units than that are summed in float32, after a shift that keeps them small."""


class CrossMoments:
    """Means, variances and products of two sets of units, summed as tokens come.

    Args:
        first, second: how many units there are.
        within: also the products of the units of each side with each other.

    Raises:
        InputError: the products would take more than `MOST_BYTES`.
    """

    def __init__(self, first: int, second: int, *, within: bool = False) -> None:
        sizes = [(first, second)] + ([(first, first), (second, second)] if within else [])
        numbers = sum(rows * columns for rows, columns in sizes)
        dtype = torch.float64 if numbers <= IN_FLOAT64 else torch.float32
        if numbers * dtype.itemsize > MOST_BYTES:
            raise InputError(
                f"The products of {first} units with {second} take {numbers * dtype.itemsize / 2**30:.1f} GiB, and "
                f"{MOST_BYTES / 2**30:.0f} are allowed; compare fewer units, or a subspace."
            )
        self.count = 0
        self.shift: tuple[Tensor, Tensor] | None = None
        self.sums = (torch.zeros(first, dtype=torch.float64), torch.zeros(second, dtype=torch.float64))
        self.squares = (torch.zeros(first, dtype=torch.float64), torch.zeros(second, dtype=torch.float64))
        self.products = [torch.zeros(size, dtype=dtype) for size in sizes]

    def add(self, first: Float[Tensor, "places first"], second: Float[Tensor, "places second"]) -> None:
        """Count some tokens in."""
        if self.shift is None:
            # Far from 0, the products of raw values would lose the digits that a correlation is made of.
            self.shift = (first.double().mean(0).cpu(), second.double().mean(0).cpu())
        a, b = first.cpu().double() - self.shift[0], second.cpu().double() - self.shift[1]
        self.count += len(a)
        for total, squared, values in zip(self.sums, self.squares, (a, b), strict=True):
            total += values.sum(0)
            squared += values.square().sum(0)
        dtype = self.products[0].dtype
        pairs = [(a, b), (a, a), (b, b)][: len(self.products)]
        for product, (one, other) in zip(self.products, pairs, strict=True):
            product.addmm_(one.to(dtype).T, other.to(dtype))

    def __add__(self, other: CrossMoments) -> CrossMoments:
        """Both together; they must have been begun with one `shift`."""
        made = CrossMoments(len(self.sums[0]), len(self.sums[1]), within=len(self.products) > 1)
        made.shift, made.count = self.shift, self.count + other.count
        made.sums = (self.sums[0] + other.sums[0], self.sums[1] + other.sums[1])
        made.squares = (self.squares[0] + other.squares[0], self.squares[1] + other.squares[1])
        made.products = [x + y for x, y in zip(self.products, other.products, strict=True)]
        return made

    def variances(self) -> tuple[Float[Tensor, " first"], Float[Tensor, " second"]]:
        """Of each unit; 0 of one that never changes."""
        found = []
        for total, squared in zip(self.sums, self.squares, strict=True):
            variance = squared / self.count - (total / self.count).square()
            # What rounding leaves of a constant is no variance.
            found.append(torch.where(variance > 1e-12 * (squared / self.count), variance, torch.zeros_like(variance)))
        return found[0], found[1]

    def covariance(self, which: int = 0) -> Float[Tensor, "rows columns"]:
        """Of the first with the second units (0), of the first (1) or of the second (2) among themselves."""
        sides = [(0, 1), (0, 0), (1, 1)][which]
        means = [self.sums[side] / self.count for side in sides]
        product = self.products[which]
        return product / self.count - torch.outer(means[0], means[1]).to(product)

    def correlation(self, last: bool = False) -> Float[Tensor, "first second"]:
        """Pearson's, of every unit with every other; 0 where one of them never changes.

        Args:
            last: take the products' own memory for it, as nothing else will be asked of them.
        """
        inverses = [
            torch.where(variance > 0, variance.clamp(min=1e-300).rsqrt(), torch.zeros_like(variance))
            for variance in self.variances()
        ]
        means = [total / self.count for total in self.sums]
        found = self.products[0] if last else torch.empty_like(self.products[0])
        # Some rows at a time, so that no second table of that size is held in float64.
        for start in range(0, len(found), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            part = self.products[0][some].double() / self.count - torch.outer(means[0][some], means[1])
            part *= inverses[0][some, None]
            part *= inverses[1]
            found[some] = part.clamp_(-1, 1)
        if last:
            self.products = self.products[1:]
        return found
