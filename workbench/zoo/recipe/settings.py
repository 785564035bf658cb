"""The numbers of the recipe: the same for every member but for the mixer's own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from workbench.zoo.recipe.mixture import Schedule, rows_of

MIMETIC = {"initialisation": "mimetic", "dt_min": 0.2, "dt_max": 1.0, "slow_decay": 300.0}

# What a member's ``ZooConfig`` has of its own.
MEMBERS: dict[str, dict[str, Any]] = {
    "attention": {
        # With the others' embedding of 0.02, AdamW turned all tokens into one direction before copying could begin.
        "embedding_range": 0.5,
        "embedding_mean": 0.5,
        "final_norm": 0.04,
        "mixer_options": {"n_heads": 4, "initialisation": "previous-token"},
    },
    "gated_delta": {"mixer_options": {"n_heads": 2, "initialisation": "mimetic"}},
    "gla": {
        "mixer_options": {
            "n_heads": 4,
            "expand_k": 1.0,
            "expand_v": 2.0,
            "short_conv": True,
            "initialisation": "mimetic",
        }
    },
    "gru": {"mixer_options": {"units": 192}},
    "lstm": {"mixer_options": {"units": 192}},
    "mamba": {"mixer_options": {"state_size": 64, **MIMETIC}},
    "mamba2": {"mixer_options": {"state_size": 128, "head_dim": 64, **MIMETIC}},
    "mlstm": {"mixer_options": {"n_heads": 4, "qk_dim": 256, "v_dim": 256, "initialisation": "mimetic"}},
    "retnet": {"mixer_options": {"n_heads": 4, "initialisation": "mimetic"}},
    "rwkv4": {},
    "rg_lru": {
        "mixer": ["rg_lru", "rg_lru", "attention", "rg_lru"],
        "mixer_options": {"rg_lru": {"width": 192}, "attention": {"n_heads": 4, "window": 128}},
    },
    "rwkv7": {"mixer_options": {"head_dim": 64, "initialisation": "mimetic"}},
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training run. Learning rates are peaks."""

    steps: int = 6000
    batch: int = 8
    context: int = 256
    seed: int = 0
    vocab_size: int = 2048
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    embed_lr: float = 2e-3
    clip: float = 1.0
    bfloat16: bool = True
    schedule: Schedule = field(default_factory=Schedule)

    def tokens_seen(self, steps: int) -> int:
        """Tokens in the first ``steps`` batches, those without loss included."""
        contexts = [int(self.schedule.at("context", step, self.steps)) for step in range(steps)]
        return sum(context * rows_of(context, self.batch) for context in contexts)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Settings:
        values = json.loads(text)
        curves = {name: tuple(tuple(point) for point in curve) for name, curve in values.pop("schedule").items()}
        return cls(**values, schedule=Schedule(**curves))
