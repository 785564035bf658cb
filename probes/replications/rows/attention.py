"""Rows about how tokens read each other: implicit attention of recurrent models."""

from __future__ import annotations

import torch

import workbench
from workbench import tasks
from workbench.probes.replications.registry import Outcome, replication

ZOO = (
    "attention",
    "mamba",
    "mamba2",
    "gated_delta",
    "gla",
    "retnet",
    "rwkv4",
    "rwkv7",
    "rg_lru",
    "mlstm",
    "lstm",
    "gru",
)


@replication(
    "hidden-attention",
    section="Reading a model",
    paper=(
        "The Hidden Attention of Mamba Models (Ali et al. 2024); "
        "A Unified Implicit Attention Formulation (Zimerman et al. 2024)"
    ),
    published="a recurrent mixer is a causal matrix times its values; for the whole mixer theirs is approximate",
    ask='model.implicit_attention(tokens, layer, scope="mixer").check()',
)
def hidden_attention() -> Outcome:
    """The error of every layer's matrix against what the layer wrote, on text that repeats."""
    numbers = {}
    for name in ZOO:
        model = workbench.load(f"zoo:{name}", dtype=torch.float64)
        tokens = tasks.repeated_random_tokens(model, 24, batch=1).tokens
        found = model.implicit_attentions(tokens, scope="mixer", mixer=None)
        numbers[name] = max(float(attention.check()) for _, attention in found)
    worst = max(numbers, key=lambda name: numbers[name])
    sentence = f"largest error over all layers of {len(ZOO)} families, in float64: {numbers[worst]:.0e} ({worst})."
    return Outcome(sentence, numbers[worst] <= 1e-10, numbers)
