"""Steering vectors: directions by hook, with a note of how they were made, kept in two plain files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.errors import InputError, LoadError
from workbench.model import HookedModel

FORMAT = "workbench-steering-1"


@dataclass(frozen=True)
class SteeringVector:
    """Directions to steer along, by canonical hook name.

    Attributes:
        values: for each hook a tensor shaped like its activation without batch and time: ``[d_model]`` of the residual
            stream, ``[heads, key, value]`` of a recurrent state.
        model_name: the model whose activations they are of.
        details: how they were made, as plain values.
    """

    values: dict[str, Tensor]
    model_name: str
    details: dict[str, Any] = field(default_factory=dict)

    def check_fits(self, model: HookedModel) -> None:
        """Refuse a model without the hooks. Raises InputError naming both models."""
        missing = [name for name in self.values if name not in model.points]
        if missing:
            raise InputError(
                f"The steering vector of {self.model_name} is for {missing[0]}, which {model.cfg.model_name} lacks."
            )

    @property
    def norms(self) -> dict[str, float]:
        """Euclidean norm of each direction."""
        return {name: float(value.norm()) for name, value in self.values.items()}

    def save(self, path: Path | str) -> None:
        """Write ``path.safetensors`` and ``path.json``, each all at once or not at all."""
        from safetensors.torch import save_file

        from workbench.report.files import replacing

        tensors, notes = _files(path)
        tensors.parent.mkdir(parents=True, exist_ok=True)
        with replacing(tensors) as part:
            save_file({name: value.detach().cpu().contiguous().clone() for name, value in self.values.items()}, part)
        said = {"format": FORMAT, "model_name": self.model_name, "details": self.details, "norms": self.norms}
        with replacing(notes) as part:
            part.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> SteeringVector:
        """Read what `save` wrote. Raises LoadError for anything else."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        tensors, notes = _files(path)
        try:
            said = json.loads(notes.read_text(encoding="utf-8"))
            values = load_file(tensors)
        except (OSError, ValueError, SafetensorError) as error:
            raise LoadError(f"{path} is no saved steering vector: {error}.") from error
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise LoadError(f"{notes} is no saved steering vector: it does not say {FORMAT!r}.")
        return cls(values, str(said["model_name"]), dict(said["details"]))


def _files(path: Path | str) -> tuple[Path, Path]:
    """Both files, whether or not the caller wrote an ending."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")
