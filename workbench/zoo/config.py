"""The configuration of a zoo model: everything needed to rebuild it, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass
class ZooConfig:
    """A decoder-only language model whose members differ in the mixer alone.

    ``mixer`` names an entry of ``workbench.zoo.registry``; ``mixer_options`` are that mixer's own numbers (heads,
    state size, initialisation). A hybrid lists the mixers of its first layers, and the list repeats as often as the
    depth needs; ``mixer_options`` then holds each mixer's own numbers under its name. ``context`` is the length in
    tokens the model was trained at. Four fields only say where training starts: ``initializer_range`` and
    ``embedding_range`` are the standard deviations of projections and embedding, ``embedding_mean`` is the embedding's
    mean and ``final_norm`` the weight of the last norm.
    """

    mixer: str | list[str]
    vocab_size: int = 2048
    d_model: int = 128
    n_layers: int = 4
    d_mlp: int = 352
    norm_eps: float = 1e-5
    initializer_range: float = 0.02
    embedding_range: float = 0.02
    embedding_mean: float = 0.02
    final_norm: float = 1.0
    context: int = 256
    bos_token_id: int = 0
    mixer_options: dict[str, Any] = field(default_factory=dict)

    def of_layer(self, layer: int) -> ZooConfig:
        """What the mixer of one layer is built from: that mixer alone, and its options."""
        if isinstance(self.mixer, str):
            return self
        name = self.mixer[layer % len(self.mixer)]
        return replace(self, mixer=name, mixer_options=self.mixer_options.get(name, {}))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ZooConfig:
        return cls(**json.loads(text))

    @classmethod
    def from_file(cls, path: Path | str) -> ZooConfig:
        return cls.from_json(Path(path).read_text())
