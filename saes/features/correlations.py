"""Neurons that fire as a feature does: Pearson correlations from sums that are taken along with the pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.saes.files.tensors import read_tensors, write_tensors

AT_ONCE = 16384
"""Vectors whose products are summed together: each sum writes a table of all features and neurons."""


class NeuronSums:
    """Sums over tokens, up to a shard, that correlations are made of; each shard's file holds all before it.

    Neurons are counted from their mean in the first vectors, so that no large numbers are subtracted in the end.
    """

    def __init__(self, folder: Path, features: int, neurons: int) -> None:
        self._folder = folder
        self.products = torch.zeros(features, neurons)
        self.total = torch.zeros(neurons, dtype=torch.float64)
        self.squares = torch.zeros(neurons, dtype=torch.float64)
        self.shift: Tensor | None = None
        self._held: list[tuple[np.ndarray, Tensor, np.ndarray, Tensor]] = []
        self._vectors = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the sums, which is what their file takes."""
        return sum(tensor.nbytes for tensor in (self.products, self.total, self.squares))

    def add(
        self,
        feature: Int[np.ndarray, " active"],
        vector: Int[Tensor, " active"],
        value: Float[np.ndarray, " active"],
        neurons: Float[Tensor, "vectors neurons"],
    ) -> None:
        """Note a pass: which features fired at which vector how strongly, and all neurons there."""
        if not len(neurons):
            return
        if self.shift is None:
            self.shift = neurons.float().mean(0).cpu()
        self._held.append((feature, vector, value, neurons.float().cpu() - self.shift))
        self._vectors += len(neurons)
        if self._vectors >= AT_ONCE:
            self._sum()

    def save(self, shard: int) -> None:
        """Write all sums up to a shard, in place of those up to the shard before. Raises InputError: disk full."""
        self._sum()
        _file(self._folder, shard).parent.mkdir(exist_ok=True)
        tensors = {"products": self.products, "total": self.total, "squares": self.squares}
        write_tensors(_file(self._folder, shard), tensors | ({} if self.shift is None else {"shift": self.shift}))
        # The one before is what a process that is killed before its commit goes on from.
        _file(self._folder, shard - 2).unlink(missing_ok=True)

    @classmethod
    def of(cls, folder: Path, shard: int) -> NeuronSums:
        """The sums up to a shard. Raises LoadError where they are gone or damaged."""
        held = read_tensors(_file(folder, shard))[0]
        found = cls(folder, *held["products"].shape)
        found.products, found.total, found.squares = held["products"], held["total"], held["squares"]
        found.shift = held.get("shift")
        return found

    def best(
        self,
        count: int,
        vectors: int,
        sums: Float[np.ndarray, " features"],
        squares: Float[np.ndarray, " features"],
    ) -> tuple[Int[np.ndarray, "features count"], Float[np.ndarray, "features count"]]:
        """The neurons with the largest correlation, of either sign, with each feature; NaN of what never varies.

        Args:
            vectors: how many there were.
            sums, squares: of each feature's activations over them.
        """
        mean = self.total / vectors
        spread = (self.squares / vectors - mean**2).clamp(min=0).sqrt()
        first = torch.from_numpy(np.asarray(sums, dtype=np.float64)) / vectors
        deviation = (torch.from_numpy(np.asarray(squares, dtype=np.float64)) / vectors - first**2).clamp(min=0).sqrt()
        count = min(count, len(mean))
        names, values = [], []
        for start in range(0, len(first), 1024):
            here = slice(start, start + 1024)
            covariance = self.products[here].double() / vectors - first[here, None] * mean
            correlation = covariance / (deviation[here, None] * spread)
            order = correlation.abs().nan_to_num(nan=-1.0, posinf=-1.0).topk(count, dim=1).indices
            names.append(order)
            values.append(correlation.gather(1, order))
        return torch.cat(names).numpy(), torch.cat(values).numpy()

    def _sum(self) -> None:
        if not self._held:
            return
        sizes = [len(neurons) for *_, neurons in self._held]
        offsets = np.cumsum([0, *sizes[:-1]]).tolist()
        where = torch.cat([vector + offset for (_, vector, _, _), offset in zip(self._held, offsets, strict=True)])
        feature = torch.from_numpy(np.concatenate([one[0] for one in self._held])).long()
        value = torch.from_numpy(np.concatenate([one[2] for one in self._held]))
        neurons = torch.cat([one[3] for one in self._held])
        shape = (len(self.products), len(neurons))
        codes = torch.sparse_coo_tensor(torch.stack([feature, where]), value, shape, check_invariants=False)
        self.products += torch.sparse.mm(codes, neurons)
        wide = neurons.double()
        self.total += wide.sum(0)
        self.squares += wide.square().sum(0)
        self._held, self._vectors = [], 0


def _file(folder: Path, shard: int) -> Path:
    return folder / "sums" / f"sums-{shard:05d}.safetensors"
