"""Weight deltas: what fine-tuning changed, added, negated or scaled, and taken out again without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from workbench.errors import InputError, LoadError
from workbench.model import HookedModel

Weights: TypeAlias = HookedModel | nn.Module | Mapping[str, Tensor]


@dataclass(frozen=True)
class WeightDelta:
    """A change of a model's weights, by parameter name: a task vector (Ilharco et al. 2023, arXiv:2212.04089).

    ``0.5 * delta``, ``-delta``, ``delta + other`` and ``delta - other`` are deltas again; names that one of two lacks
    count as zero there.

    Attributes:
        values: what is added to each parameter. Parameters that share one tensor are there once.
    """

    values: dict[str, Tensor]

    @classmethod
    def between(cls, base: Weights, tuned: Weights) -> WeightDelta:
        """What has to be added to `base` to get `tuned`: two checkpoints of one architecture.

        Raises:
            InputError: a parameter is missing in one of them or has another shape.
        """
        before, after = _named(base), _named(tuned)
        odd = sorted(before.keys() ^ after.keys())
        if odd:
            where = "first" if odd[0] in before else "second"
            raise InputError(f"The checkpoints are not of one architecture: only the {where} has {odd[0]}.")
        for name, weight in before.items():
            if weight.shape != after[name].shape:
                raise InputError(
                    f"The checkpoints are not of one architecture: {name} is {[*weight.shape]} in the first and "
                    f"{[*after[name].shape]} in the second."
                )
        return cls({name: after[name].detach() - weight.detach().to(after[name]) for name, weight in before.items()})

    def __mul__(self, factor: float) -> WeightDelta:
        return WeightDelta({name: factor * value for name, value in self.values.items()})

    __rmul__ = __mul__

    def __neg__(self) -> WeightDelta:
        return -1.0 * self

    def __add__(self, other: WeightDelta) -> WeightDelta:
        found = dict(self.values)
        for name, value in other.values.items():
            if name in found and found[name].shape != value.shape:
                raise InputError(f"{name} is {[*found[name].shape]} in one delta and {[*value.shape]} in the other.")
            found[name] = found[name] + value if name in found else value
        return WeightDelta(found)

    def __sub__(self, other: WeightDelta) -> WeightDelta:
        return self + -other

    def only(self, *parts: str) -> WeightDelta:
        """The delta of the parameters whose name contains one of the parts. Raises InputError where none does."""
        kept = {name: value for name, value in self.values.items() if any(part in name for part in parts)}
        if not kept:
            raise InputError(f"No parameter of the delta has {' or '.join(map(repr, parts))} in its name.")
        return WeightDelta(kept)

    @property
    def norm(self) -> float:
        """Euclidean norm of all changes together."""
        return float(sum(float(value.double().square().sum()) for value in self.values.values()) ** 0.5)

    @contextmanager
    def applied(self, model: HookedModel | nn.Module, scale: float = 1.0) -> Iterator[None]:
        """Add ``scale`` times the delta to a model's weights within a ``with`` block.

        After the block the weights are as before, bit for bit.

        Raises:
            InputError: the model lacks a parameter, or has it in another shape.
        """
        weights = _named(model)
        for name, value in self.values.items():
            if name not in weights:
                raise InputError(f"The model has no parameter {name}, which the weight delta changes.")
            if weights[name].shape != value.shape:
                raise InputError(f"{name} is {[*weights[name].shape]} in the model and {[*value.shape]} in the delta.")
        kept = {name: weights[name].detach().clone() for name in self.values}
        try:
            with torch.no_grad():
                for name, value in self.values.items():
                    # Added in the wider of the two: a small change of a large half-precision weight is rounded once.
                    wide = torch.promote_types(weights[name].dtype, torch.float32)
                    changed = kept[name].to(wide) + scale * value.to(weights[name].device, wide)
                    weights[name].copy_(changed)
            yield
        finally:
            with torch.no_grad():
                for name, before in kept.items():
                    weights[name].copy_(before)

    def save(self, path: Path | str) -> None:
        """Write the delta as one safetensors file, all at once or not at all."""
        from safetensors.torch import save_file

        from workbench.report.files import replacing

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file({name: value.detach().cpu().contiguous().clone() for name, value in self.values.items()}, part)

    @classmethod
    def load(cls, path: Path | str) -> WeightDelta:
        """Read what `save` wrote. Raises LoadError for anything else."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return cls(load_file(Path(path)))
        except (OSError, SafetensorError) as error:
            raise LoadError(f"{path} is no saved weight delta: {error}.") from error


def _named(weights: Weights) -> dict[str, Tensor]:
    """Parameters by name; one that has two names (a tied unembedding) under its first."""
    if isinstance(weights, HookedModel):
        weights = weights.wrapped
    if isinstance(weights, nn.Module):
        return dict(weights.named_parameters())
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, value in weights.items():
        place = (value.data_ptr(), tuple(value.shape))
        if place not in seen:
            found[name] = value
        seen.add(place)
    return found
