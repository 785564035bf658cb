"""How an autoencoder is trained: kind, sizes, rates and seeds, as one plain value that a checkpoint can be held to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from workbench.errors import InputError

ARCHITECTURES = {
    "topk": "k features a vector (Gao et al. 2024, arXiv:2406.04093)",
    "batchtopk": "k features a vector on average (Bussmann et al. 2024, arXiv:2412.06410)",
    "matryoshka_batchtopk": "nested dictionaries (Bussmann et al. 2025, arXiv:2503.17547)",
    "jumprelu": "a threshold a feature (Rajamanoharan et al. 2024, arXiv:2407.14435)",
    "gated": "gates apart from magnitudes (Rajamanoharan et al. 2024, arXiv:2404.16014)",
    "standard": "ReLU and an L1 penalty (Bricken et al. 2023)",
}
"""Architectures by SAELens' names, and what each is. A trained BatchTopK or Matryoshka one is a JumpReLU one."""

KEEPING_K = ("topk", "batchtopk", "matryoshka_batchtopk")
TRANSCODING = {"topk": "topk", "batchtopk": "jumprelu", "jumprelu": "jumprelu", "standard": ""}
"""Architectures a transcoder can be trained with, and what its features then are; '' is ReLU."""


@dataclass(frozen=True)
class SaeTrainingOptions:
    """What a training is, but for its data.

    Attributes:
        architecture: a key of `ARCHITECTURES`; of a transcoder, of `TRANSCODING`.
        d_sae: features.
        k: features a vector, where the architecture keeps so many.
        tokens: vectors to train on; `batch` of them a step.
        learning_rate: of Adam at its height; None for 2e-4 * sqrt(16384 / d_sae), as Gao et al. found it to go
            (section 3.1), and at most 1e-3.
        warm_up, decay: shares of the steps in which it rises from 0 and falls to 0.
        sparsity: the coefficient of the L1 or L0 penalty, where the architecture has one; it rises over `warm_up`.
        normalise: multiply vectors by one number that makes their mean norm sqrt(d_in), and put it into the weights in
            the end: learning rates and penalties then mean the same on every hook.
        centre: the decoder's bias begins at the mean of the first batch (Gao et al., appendix A.1, at its geometric
            median) and not at 0, and `normalise` counts norms from there. Residual streams have a large mean; features
            that begin with it are mostly dead in the end.
        widths: of a Matryoshka's levels; None for d_sae / 16, / 4 and d_sae.
        skip: of a transcoder, whether a linear map leads past the features.
        dead_window: steps without firing after which a feature counts as dead; None for a twentieth of the steps, at
            least 50 and at most 1000.
        sparse: compute with the kept features alone where that gives the same gradients; False for SAELens' own step.
        seed: of the first weights.
        dtype: ``"float32"`` or ``"float64"``.
        device: where to train.
        more: further settings of SAELens' training config by its names, such as ``jumprelu_bandwidth``.

    Raises:
        InputError: something that is not there, or out of range.
    """

    architecture: str = "topk"
    d_sae: int = 16384
    k: float = 32
    tokens: int = 10_000_000
    batch: int = 4096
    learning_rate: float | None = None
    warm_up: float = 0.05
    decay: float = 0.2
    sparsity: float = 1.0
    normalise: bool = True
    centre: bool = True
    widths: tuple[int, ...] | list[int] | None = None
    skip: bool = False
    dead_window: int | None = None
    sparse: bool = True
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"No architecture {self.architecture!r} can be trained; there is {', '.join(ARCHITECTURES)}."
            )
        for name in ("d_sae", "batch", "tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; at least 1 is needed.")
        if self.tokens < self.batch:
            raise InputError(f"{self.tokens} vectors do not fill one batch of {self.batch}.")
        if self.architecture in KEEPING_K and not 0 < self.k <= self.d_sae:
            raise InputError(f"k is {self.k}; of {self.d_sae} features 1 to {self.d_sae} are kept.")
        if self.architecture == "topk" and self.k != int(self.k):
            raise InputError(f"k is {self.k}; topk keeps a whole number of features.")
        if min(self.warm_up, self.decay) < 0 or self.warm_up + self.decay > 1:
            raise InputError(f"warm_up {self.warm_up} and decay {self.decay} are shares of the steps, 1 together.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"The learning rate is {self.learning_rate}; it is above 0.")
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"dtype is {self.dtype!r}; float32 or float64 is trained in.")
        if self.more.get("normalize_activations") in ("expected_average_only_in", "covariance_whitening"):
            raise InputError("Of SAELens' normalisations of all vectors together there is one here, normalise=True.")
        if self.dead_window is not None and self.dead_window < 1:
            raise InputError(f"dead_window is {self.dead_window}; at least one step is needed.")

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        return self.tokens // self.batch

    @property
    def rate(self) -> float:
        """The learning rate at its height."""
        if self.learning_rate is not None:
            return self.learning_rate
        return min(2e-4 * math.sqrt(16384 / self.d_sae), 1e-3)

    @property
    def warm_up_steps(self) -> int:
        """Steps in which the learning rate rises."""
        return int(self.warm_up * self.steps)

    @property
    def decay_steps(self) -> int:
        """Steps in which the learning rate falls."""
        return int(self.decay * self.steps)

    @property
    def levels(self) -> list[int]:
        """Widths of a Matryoshka's levels, the last of them `d_sae`."""
        given = [self.d_sae // 16, self.d_sae // 4] if self.widths is None else self.widths
        return [*(width for width in given if 0 < width < self.d_sae), self.d_sae]

    @property
    def window(self) -> int:
        """Steps without firing after which a feature counts as dead."""
        return min(max(self.steps // 20, 50), 1000) if self.dead_window is None else self.dead_window

    @property
    def scales(self) -> bool:
        """Whether vectors are multiplied by one number; a normalisation of each makes that idle."""
        return self.normalise and self.more.get("normalize_activations", "none") == "none"

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the weights."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def plain(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        found = asdict(self)
        return {**found, "widths": None if self.widths is None else list(self.widths), "more": dict(self.more)}
