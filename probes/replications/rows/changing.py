"""Rows about causal edits: self-repair, late states, steering, channels, gates, weight deltas."""

from __future__ import annotations

from collections.abc import Callable

import torch

import workbench
from workbench.interventions import Fix
from workbench.model import HookedModel
from workbench.probes.patching import (
    answer_metric,
    back_patching,
    direct_and_total_effects,
)
from workbench.probes.replications.registry import Outcome, replication
from workbench.probes.steering import contrastive_vector, steering_sweep
from workbench.tasks import bootstrap_means, repeated_random_tokens

BLOCK = 24

# Two ways of writing that even a small model trained on English text tells apart.
FORMAL = (
    "The committee respectfully submits the following report to the Congress",
    "It is the duty of the Government to protect the rights of its citizens",
    "The treaty was duly ratified by the Senate and proclaimed by the President",
    "The appropriations for the Department of the Treasury were considered",
    "In pursuance of the act of Congress the commissioners were appointed",
    "The revenue of the United States during the last fiscal year was sufficient",
)
PLAIN = (
    "She ran down the street and called her dog as loud as she could",
    "I was so hungry that I ate the whole cake and then some more",
    "The little boy laughed and threw the ball over the fence again",
    "We sat by the fire and told each other stories until midnight",
    "He looked out of the window and saw that it was raining again",
    "My sister says that the cat sleeps on her bed every single night",
)


@replication(
    "hydra-effect",
    section="Changing a model",
    paper="The Hydra Effect (McGrath et al. 2023)",
    published="ablating an attention layer or head costs less in all than it wrote directly: later ones make up for it",
    ask="direct_and_total_effects(model, task)",
)
def hydra_effect() -> Outcome:
    """Mean ablation of the head that writes most, on repeated random tokens."""
    numbers: dict[str, float] = {}
    sentences = []
    repaired = 0
    for name in ("attention", "mamba2", "gated_delta"):
        model = workbench.load(f"zoo:{name}")
        task = repeated_random_tokens(model, BLOCK, batch=8, seed=0)
        table = direct_and_total_effects(model, task, answer_metric(task, label="second"), method="mean")
        row = table[table["part"] == "heads"].sort_values("direct").iloc[0]
        direct, total, repair = float(row["direct"]), float(row["total"]), float(row["compensation"])
        low, high = float(row["compensation_low"]), float(row["compensation_high"])
        repaired += low > 0
        numbers |= {f"{name}: direct": direct, f"{name}: total": total, f"{name}: compensation": repair}
        sentences.append(
            f"{name} {row['site']}: direct {direct:.1f}, total {total:.1f}, compensation {repair:+.1f} "
            f"({low:+.1f} to {high:+.1f}) logits"
        )
    return Outcome("; ".join(sentences) + ".", repaired > 0, numbers)


@replication(
    "hopping-too-late",
    section="Changing a model",
    paper="Hopping Too Late (Biran et al. 2024)",
    published="a late layer's state, written into an earlier layer, brings answers that the plain run misses",
    ask='back_patching(model, task, positions="all")',
)
def hopping_too_late() -> Outcome:
    """The sweep on a task without hops, which four layers do: nothing is left to come too late."""
    numbers: dict[str, float] = {}
    for name in ("attention", "mamba2"):
        model = workbench.load(f"zoo:{name}")
        task = repeated_random_tokens(model, BLOCK, batch=8, seed=0)
        table = back_patching(model, task, answer_metric(task, label="second"), positions="all")
        best = table.sort_values("effect").iloc[-1]
        numbers |= {
            f"{name}: best effect": float(best["effect"]),
            f"{name}: pairs with a rise": float((table["low"] > 0).mean()),
        }
    found = "; ".join(
        f"{name}: the best of 6 pairs changes the answer's logit by {numbers[f'{name}: best effect']:+.1f}"
        for name in ("attention", "mamba2")
    )
    return Outcome(
        f"{found} (copying takes two layers, so no later state helps; the zoo does no two hops).", None, numbers
    )


@replication(
    "steering-rnns",
    section="Changing a model",
    paper="Does Transformer Interpretability Transfer to RNNs? (Paulo et al. 2024)",
    published="contrastive vectors steer recurrent models too, by the residual stream and by the state",
    ask='steering_sweep(model, prompts, contrastive_vector(model, positive, negative, "mixer.hook_state"), alphas)',
)
def steering_rnns() -> Outcome:
    """Formal against plain English; the vector is made of four pairs and tried on the two others."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in ("attention", "mamba2", "gated_delta", "gla"):
        model = workbench.load(f"zoo:{name}")
        metric = _formality(model)
        held_out = [*FORMAL[4:], *PLAIN[4:]]
        places = {"stream": "blocks.2.hook_resid_post"}
        if model.mixer(2).recurrent:
            places["state"] = "blocks.2.mixer.hook_state"
        for place, hook in places.items():
            vector = contrastive_vector(model, FORMAL[:4], PLAIN[:4], hook)
            table = steering_sweep(model, held_out, vector, [-2.0, 2.0], metric, positions=-1)
            away, towards = table["effect"].tolist()
            numbers |= {f"{name} {place}: -2": away, f"{name} {place}: +2": towards}
            sentences.append(f"{name} {place} {away:+.2f} to {towards:+.2f}")
    pairs = [(numbers[key], numbers[key.replace("-2", "+2")]) for key in numbers if key.endswith("-2")]
    agrees = all(away < 0 < towards for away, towards in pairs)
    found = "Log-odds of words of formal text at strengths -2 and +2: " + "; ".join(sentences) + "."
    return Outcome(found, agrees, numbers)


def _formality(model: HookedModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """Log-odds, at the last token, of the tokens that formal prompts make likelier over those that plain ones do."""
    with torch.no_grad():
        formal, plain = (model(list(texts[:4]))[:, -1].log_softmax(-1).mean(0) for texts in (FORMAL, PLAIN))
    likelier = (formal - plain).argsort()
    up, down = likelier[-50:], likelier[:50]
    return lambda logits: logits[:, -1, up].logsumexp(-1) - logits[:, -1, down].logsumexp(-1)


@replication(
    "lstm-odyssey",
    section="Changing a model",
    paper="LSTM: A Search Space Odyssey (Greff et al. 2017)",
    published="of the gates, the forget gate is the one that is missed most",
    ask='Fix("mixer.hook_log_decay", 0.0).applied(model)',
)
def lstm_odyssey() -> Outcome:
    """Gates held at 1 in all layers, without training again; the published variants were trained anew."""
    model = workbench.load("zoo:lstm")
    tokens, mask = model.tokenize_batch([*FORMAL, *PLAIN])
    fixed = {"forget": "mixer.hook_log_decay", "input": "mixer.hook_write", "output": "mixer.hook_gate"}
    with torch.no_grad():
        plain = _losses(model, tokens, mask)
        numbers = {"intact": float(plain.mean())}
        for gate, hook in fixed.items():
            with Fix(hook, 0.0 if gate == "forget" else 1.0).applied(model):
                rise = _losses(model, tokens, mask) - plain
            numbers[f"{gate} gate 1"] = float(bootstrap_means(rise[:, None]).mean[0])
    rises = {gate: numbers[f"{gate} gate 1"] for gate in fixed}
    found = f"Loss on 12 sentences {numbers['intact']:.2f} nats; with a gate held open: " + ", ".join(
        f"{gate} {rise:+.2f}" for gate, rise in rises.items()
    )
    return Outcome(found + ".", max(rises, key=lambda gate: rises[gate]) == "forget", numbers)


def _losses(model: HookedModel, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    losses = model(tokens, attention_mask=mask, return_type="loss", loss_per_token=True)
    counted = (mask[:, 1:] * mask[:, :-1]).to(losses)
    summed: torch.Tensor = (losses * counted).sum(1) / counted.sum(1)
    return summed
