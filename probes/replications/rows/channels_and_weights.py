"""Rows about communication channels between heads, and about arithmetic with weights."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

import workbench
from workbench.interventions import Scale, WeightDelta
from workbench.model import HookedModel
from workbench.probes.heads import find_heads
from workbench.probes.patching import answer_metric
from workbench.probes.replications.registry import Outcome, replication
from workbench.probes.weights import head_weights
from workbench.tasks import repeated_random_tokens

RANK = 4
CHAIN = 12  # tokens of a chain that a model is tuned on


@replication(
    "talking-heads",
    section="Reading a model",
    paper="Talking Heads (Merullo, Eickhoff and Pavlick 2024)",
    published="few directions carry what one head tells a later one; scaling them controls the behaviour",
    ask='Scale("blocks.1.mixer.hook_in", 0.0, subspace=channel).applied(model)',
)
def talking_heads() -> Outcome:
    """The channel from the previous-token head to all keys of the next layer, and random directions."""
    model = workbench.load("zoo:attention")
    task = repeated_random_tokens(model, 24, batch=8, seed=0)
    metric = answer_metric(task, label="second")
    sender = find_heads(model, "previous_token", layers=[0]).iloc[0]
    writes = head_weights(model, 0).W_O
    reads = head_weights(model, 1, fold_norm=True).W_K
    assert writes is not None and reads is not None  # attention has both
    out = writes[int(sender["head"])].detach().double()
    keys = torch.cat([*reads.detach().double()], dim=-1)
    left = torch.linalg.svd(out @ keys).U[:, :RANK]
    with torch.no_grad():
        _, cache = model.run_with_cache(task.tokens, ["blocks.1.hook_resid_pre", "blocks.1.mixer.hook_in"])
    gain = _norm_gain(cache["blocks.1.hook_resid_pre"], cache["blocks.1.mixer.hook_in"]).double()
    channel = gain[:, None] * (out.T @ left)
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(len(channel), RANK, generator=generator) for _ in range(5)]

    def without(subspace: Tensor | None, factor: float) -> float:
        edit = None if subspace is None else Scale("blocks.1.mixer.hook_in", factor, subspace=subspace)
        with torch.no_grad(), nullcontext() if edit is None else edit.applied(model):
            return float(metric(model(task.tokens)).mean())

    numbers = {
        "intact": without(None, 1.0),
        "channel at 0": without(channel, 0.0),
        "channel at 0.5": without(channel, 0.5),
        "random at 0": sum(without(other, 0.0) for other in others) / len(others),
    }
    lost, by_chance = (numbers["intact"] - numbers[name] for name in ("channel at 0", "random at 0"))
    found = (
        f"Answer's logit {numbers['intact']:.1f}; {numbers['channel at 0.5']:.1f} with {RANK} of 128 directions from "
        f"{sender['site']} halved, {numbers['channel at 0']:.1f} without them, {numbers['random at 0']:.1f} without "
        f"{RANK} random ones."
    )
    return Outcome(found, lost > 3 * max(by_chance, 0.0), numbers)


def _norm_gain(before: Tensor, after: Tensor) -> Tensor:
    """The norm's weight, up to a factor: its outputs over its inputs scaled to one size."""
    scaled = before / before.square().mean(-1, keepdim=True).sqrt()
    return (after * scaled).sum((0, 1)) / scaled.square().sum((0, 1))


@replication(
    "task-arithmetic",
    section="Changing a model",
    paper="Editing Models with Task Arithmetic (Ilharco et al. 2023)",
    published="the sum of two task vectors does both tasks; a negated one forgets its task and spares the rest",
    ask="(WeightDelta.between(base, tuned) + other).applied(model)",
)
def task_arithmetic() -> Outcome:
    """Two random chains of tokens, each learned by a copy of the model; copying is what should stay."""
    numbers: dict[str, float] = {}
    sentences = []
    agrees = True
    for name in ("attention", "mamba2"):
        base = workbench.load(f"zoo:{name}")
        chains = [_chains(first, seed) for first, seed in ((100, 0), (1000, 1))]
        deltas = []
        for chain in chains:
            tuned = workbench.load(f"zoo:{name}")
            _tune(tuned, chain)
            deltas.append(WeightDelta.between(base, tuned))
        first, second = deltas
        found = {}
        for label, delta in (("base", 0.0 * first), ("sum", first + second), ("negated", -1.0 * first)):
            with delta.applied(base):
                losses = [_loss(base, chain) for chain in chains]
                found[label] = [*losses, _copying(base)]
        agrees &= all(found["sum"][i] < 0.5 * found["base"][i] for i in range(2))
        agrees &= found["negated"][0] - found["base"][0] > found["negated"][2] - found["base"][2]
        for label, values in found.items():
            columns = ("first", "second", "copying")
            numbers |= {f"{name} {label}: {what}": value for what, value in zip(columns, values, strict=True)}
        sentences.append(
            name
            + ": "
            + ", ".join(f"{label} " + "/".join(f"{v:.2f}" for v in values) for label, values in found.items())
        )
    text = "Loss of first chain/second chain/copying (nats): " + "; ".join(sentences) + "."
    return Outcome(text, agrees, numbers)


def _chains(first: int, seed: int) -> Tensor:
    """Rows that walk along one random cycle of tokens, from different starts."""
    order = torch.randperm(CHAIN, generator=torch.Generator().manual_seed(seed)) + first
    return torch.stack([order.roll(-start) for start in range(CHAIN)])


def _loss(model: HookedModel, tokens: Tensor) -> float:
    with torch.no_grad():
        return float(model(tokens, return_type="loss"))


def _copying(model: HookedModel) -> float:
    task = repeated_random_tokens(model, 24, batch=8, seed=0)
    with torch.no_grad():
        return -float(answer_metric(task, "log_probability", "second")(model(task.tokens)).mean())


def _tune(model: HookedModel, tokens: Tensor, steps: int = 40) -> None:
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(model.wrapped.parameters(), lr=2e-4)
    for _ in range(steps):
        optimiser.zero_grad()
        model(tokens, return_type="loss").backward()
        optimiser.step()
