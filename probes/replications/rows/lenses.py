"""Rows about lenses: what earlier layers would say."""

from __future__ import annotations

import torch
from torch import Tensor

import workbench
from workbench.model import HookedModel
from workbench.probes import lenses
from workbench.probes.replications.registry import Outcome, replication

MEMBERS = ("mamba", "attention", "rwkv7")


def _sampled(model: HookedModel, rows: int, seed: int) -> Tensor:
    """Text as the model writes it, so that no corpus is needed: rows of 48 tokens after the beginning-of-text token."""
    begin = torch.zeros(rows, 1, dtype=torch.long)
    tokens: Tensor = model.generate(begin, 48, temperature=1.0, stop_at_eos=False, seed=seed, return_type="tokens")
    return tokens[:, 1:]


@replication(
    "tuned-lens",
    section="Reading a model",
    paper=(
        "Eliciting Latent Predictions with the Tuned Lens (Belrose et al. 2023); "
        "Does Transformer Interpretability Transfer to RNNs? (Paulo et al. 2024)"
    ),
    published=(
        "KL to the output, first / middle / last layer: logit lens 40.7 / 21.4 / 0.70, tuned lens 5.06 / 1.63 / 0.17 "
        "on mamba-130m; below the logit lens on rwkv-169m, too"
    ),
    ask="lens = train_tuned_lens(model, tokens).lens; evaluate_lenses([LogitLens(model), lens], held_out)",
)
def tuned_lens() -> Outcome:
    """KL of both lenses at every depth, on text the model sampled; half of it is held out."""
    numbers: dict[str, float] = {}
    parts, agrees = [], True
    for name in MEMBERS:
        model = workbench.load(f"zoo:{name}")
        options = lenses.TunedLensOptions(steps=40, rows=16)
        lens = lenses.train_tuned_lens(model, _sampled(model, 128, 0), options).lens
        table = lenses.evaluate_lenses([lenses.LogitLens(lens.unembedding), lens], _sampled(model, 32, 1))
        kl = table.pivot(index="depth", columns="lens", values="kl")[:-1]
        agrees &= bool((kl["tuned lens"] < kl["logit lens"]).all())
        for column, short in (("logit lens", "logit"), ("tuned lens", "tuned")):
            numbers |= {f"{name} {short} {depth}": float(value) for depth, value in kl[column].items()}
        first, last = kl.iloc[0], kl.iloc[-1]
        parts.append(
            f"{name} {first['logit lens']:.1f} and {last['logit lens']:.2f} against {first['tuned lens']:.2f} and "
            f"{last['tuned lens']:.2f}"
        )
    return Outcome(f"KL at the first and last depth, logit against tuned lens: {'; '.join(parts)}.", agrees, numbers)


@replication(
    "jump-to-conclusions",
    section="Reading a model",
    paper="Jump to Conclusions: Short-Cutting Transformers With Linear Transformations (Din et al. 2023)",
    published="a fitted matrix from an early layer names the model's own answer more often than the logit lens does",
    ask="evaluate_lenses([LogitLens(model), fit_shortcuts(model, tokens)], held_out); early_exit(lens, held_out)",
)
def jump_to_conclusions() -> Outcome:
    """Precision at 1 of shortcuts and logit lens at every depth, and what an early exit would save."""
    numbers: dict[str, float] = {}
    parts, agrees = [], True
    for name in MEMBERS:
        model = workbench.load(f"zoo:{name}")
        lens = lenses.fit_shortcuts(model, _sampled(model, 128, 0))
        held_out = _sampled(model, 32, 1)
        table = lenses.evaluate_lenses([lenses.LogitLens(lens.unembedding), lens], held_out)
        found = table.pivot(index="depth", columns="lens", values="precision@1")[:-1]
        agrees &= bool((found["shortcut"] > found["logit lens"]).all())
        exits = lenses.early_exit(lens, held_out, [0.5]).iloc[0]
        middle = found.iloc[len(found) // 2]
        numbers |= {f"{name} shortcut {depth}": float(value) for depth, value in found["shortcut"].items()}
        numbers |= {f"{name} logit {depth}": float(value) for depth, value in found["logit lens"].items()}
        numbers |= {f"{name} saved": float(exits["saved"]), f"{name} agreement": float(exits["agreement"])}
        parts.append(
            f"{name} {middle['shortcut']:.0%} against {middle['logit lens']:.0%}, and leaving at a margin of 0.5 saves "
            f"{exits['saved']:.0%} of the blocks for {exits['agreement']:.0%} agreement"
        )
    return Outcome(f"Precision at 1 in the middle, shortcut against logit lens: {'; '.join(parts)}.", agrees, numbers)
