"""Latent knowledge without labels: contrast-consistent search and principal components of contrast pairs.

A pair is one question completed by two answers that contradict each other. Burns et al. 2022 ("Discovering Latent
Knowledge in Language Models Without Supervision", arXiv:2212.03827).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.linear.data import label_array
from workbench.probes.linear.fitting import check_values
from workbench.probes.linear.probe import Probe
from workbench.probes.linear.scores import GroupDraws
from workbench.tasks.intervals import Interval

Pairs = Float[np.ndarray, "pairs features"]
METHODS = ("ccs", "difference_pca")


@dataclass(frozen=True, eq=False)
class ContrastProbe:
    """A direction that was found without labels, and so without a sign.

    Attributes:
        probe: high at statements it takes for true (or for false: nothing in the data says which).
        offset: half of what the probe sees between a first and a second answer on average: which answer it is, and not
            whether it is true. Taken off before a pair is judged.
        loss: what contrast-consistent search came to; for principal components the share of variance explained.
    """

    probe: Probe
    offset: float
    loss: float

    @property
    def direction(self) -> Float[np.ndarray, " features"]:
        """The probe's unit vector."""
        return self.probe.direction

    def first_is_true(self, first: Pairs, second: Pairs) -> Float[np.ndarray, " pairs"]:
        """Probability that the first answer is the true one: the mean of ``p(first)`` and ``1 - p(second)``."""
        one = _sigmoid(self.probe.scores(first)[:, 0] - self.offset)
        other = _sigmoid(self.probe.scores(second)[:, 0] + self.offset)
        chance: Float[np.ndarray, " pairs"] = (one + 1 - other) / 2
        return chance

    def accuracy(
        self, first: Pairs, second: Pairs, labels: Any, *, groups: Any = None, level: float = 0.95, seed: int = 0
    ) -> Interval:
        """Share of pairs judged rightly, with an interval over groups (pairs, by default).

        The sign that no label decided is taken as the better one, as in the paper, so chance lies a little above 1/2.

        Args:
            labels: True where the first answer is the true one.

        Raises:
            InputError: labels of another number than pairs.
        """
        truth = label_array(labels)
        if truth.shape != (len(first),):
            raise InputError(f"There are {len(truth)} labels for {len(first)} pairs; one a pair is needed.")
        right = (self.first_is_true(first, second) > 0.5) == truth.astype(bool)
        right = right if right.mean() >= 0.5 else ~right
        draws = GroupDraws(np.arange(len(right)) if groups is None else np.asarray(groups), seed=seed)
        return draws.interval(draws.sums(right.astype(np.float64)) / draws.sums(np.ones(len(right))), level)


def contrast_probe(
    first: Pairs,
    second: Float[np.ndarray, "others width"],
    method: str = "ccs",
    *,
    restarts: int = 10,
    steps: int = 1000,
    hook: str = "",
    model_name: str = "",
    seed: int = 0,
) -> ContrastProbe:
    """Find a direction along which the two answers of each pair differ consistently. No labels are used.

    The mean of each side is taken off, so that which answer it is cannot be told, and features are divided by their
    standard deviation over both sides. ``"ccs"`` then minimises (equations 1 and 2)

        mean (p(first) + p(second) - 1)^2 + min(p(first), p(second))^2,   p = sigmoid(w x + b)

    from several starts and keeps the best; ``"difference_pca"`` takes the first principal component of the differences
    (section 3.3: CRC-TPC).

    Args:
        first, second: activations of the two answers, a row a pair.
        restarts, steps: of the search, by Adam at a rate of 0.01 with a weight decay of 0.01.

    Raises:
        InputError: sides of different shapes, fewer than two pairs, a method that is neither.
    """
    if first.shape != second.shape:
        raise InputError(f"A pair has two sides of one shape; these are {[*first.shape]} and {[*second.shape]}.")
    for side in (first, second):
        check_values(side, len(side))
    if len(first) < 2:
        raise InputError("One pair shows no direction; at least two are needed.")
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of 'ccs', 'difference_pca'.")
    means = [side.astype(np.float64).mean(axis=0) for side in (first, second)]
    centred = [side.astype(np.float64) - mean for side, mean in zip((first, second), means, strict=True)]
    scale = np.concatenate(centred).std(axis=0)
    scale[scale == 0] = 1.0
    one, two = (side / scale for side in centred)
    if method == "ccs":
        weight, bias, loss = _search(torch.as_tensor(one), torch.as_tensor(two), restarts, steps, seed)
    else:
        _, singular, components = np.linalg.svd(one - two, full_matrices=False)
        weight, bias, loss = components[0], 0.0, float(singular[0] ** 2 / (singular**2).sum())
    own = weight / scale
    middle, half = (means[0] + means[1]) / 2, (means[0] - means[1]) / 2
    probe = Probe(method, own[None], np.array([bias - own @ middle]), (False, True), hook, model_name)
    return ContrastProbe(probe, float(own @ half), loss)


def _search(
    first: Float[Tensor, "pairs features"],
    second: Float[Tensor, "pairs features"],
    restarts: int,
    steps: int,
    seed: int,
) -> tuple[Float[np.ndarray, " features"], float, float]:
    """Weights, bias and loss of the best of several searches, all of which run side by side."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(first.shape[1], restarts, generator=generator, dtype=first.dtype) / first.shape[1] ** 0.5
    weights.requires_grad_()
    biases = torch.zeros(restarts, dtype=first.dtype, requires_grad=True)
    optimiser = torch.optim.AdamW([weights, biases], lr=0.01, weight_decay=0.01)

    def losses() -> Float[Tensor, " restarts"]:
        one, two = (torch.sigmoid(side @ weights + biases) for side in (first, second))
        return ((one + two - 1) ** 2 + torch.minimum(one, two) ** 2).mean(0)

    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            losses().sum().backward()
            optimiser.step()
    with torch.no_grad():
        final = losses()
    best = int(final.argmin())
    return weights[:, best].detach().numpy(), float(biases[best].detach()), float(final[best])


def _sigmoid(x: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    found: Float[np.ndarray, " pairs"] = np.exp(-np.logaddexp(0, -x))
    return found
