"""Rows about the dynamics of nonlinear recurrent networks."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.model import HookedModel
from workbench.probes import dynamics
from workbench.probes.replications.registry import Outcome, replication
from workbench.tasks import make_task, score_model

SYMBOLS, UNITS = 6, 24


class Reader(nn.Module):
    """A GRU that predicts the next symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS, UNITS)
        self.rnn = nn.GRU(UNITS, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, SYMBOLS)

    def forward(self, input_ids: Int[Tensor, "batch time"]) -> SimpleNamespace:
        """Logits of the next symbol."""
        return SimpleNamespace(logits=self.head(self.rnn(self.embed(input_ids))[0]))


def trained_reader(tokens: Int[Tensor, "batch time"], steps: int = 400, seed: int = 0) -> Reader:
    """A reader fitted to sequences by Adam, some of them a step."""
    torch.manual_seed(seed)
    reader = Reader()
    optimiser = torch.optim.Adam(reader.parameters(), lr=1e-2)
    for step in range(steps):
        part = tokens[(16 * step) % len(tokens) :][:16]
        optimiser.zero_grad()
        logits: Float[Tensor, "batch time symbols"] = reader(part[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten()).backward()
        optimiser.step()
    return reader


@replication(
    "rnns-emulating-hmms",
    section="Reading a model",
    paper="Mechanistic Interpretability of RNNs emulating Hidden Markov Models (Torre et al. 2025)",
    published="a trained RNN's states gather in regions that stand for the hidden states; without noise they rest",
    ask="StateMap(model, 0); cluster_states(states, task.states); find_fixed_points(step, states)",
)
def emulating_hmms() -> Outcome:
    """A GRU trained on a cyclic hidden Markov model: clusters, fixed points, orbits, exponents."""
    options = {"shape": "cyclic", "hidden": 4, "symbols": SYMBOLS, "stay": 0.5, "concentration": 0.1, "time": 64}
    learned = make_task("hidden_markov", SYMBOLS, batch=512, seed=1, **options)
    model = HookedModel(trained_reader(learned.tokens))
    task = make_task("hidden_markov", SYMBOLS, batch=24, seed=2, **options)
    gap = score_model(model, task).interval("divergence").mean
    recurrence = dynamics.StateMap(model, 0)
    states = recurrence.trajectory(task.tokens)
    labels = task.states
    assert labels is not None  # of a task with a hidden process
    clusters = dynamics.cluster_states(states[:, 8:], labels[:, 8:])
    kinds: list[str] = []
    periods: list[str] = []
    exponents = []
    for token in range(SYMBOLS):
        step = recurrence.under_token(token)
        starts = states[:3, ::20].flatten(0, 1)
        kinds += dynamics.find_fixed_points(step, starts, iterations=100).table()["stability"].tolist()
        periods += [orbit.kind for orbit in dynamics.find_orbits(step, starts[:4])]
        exponents.append(float(dynamics.lyapunov_exponents(step, starts[0], steps=50, count=1).exponents[0]))
    attractors, resting = kinds.count("attractor"), periods.count("point") / len(periods)
    found = (
        f"A GRU of {UNITS} units, {gap:.3f} nats above the exact predictor: k-means of its states agrees with the "
        f"hidden states by {clusters.adjusted_rand:.2f} (adjusted Rand; purity {clusters.purity:.0%}, chance "
        f"{clusters.chance:.0%}); under each of {SYMBOLS} constant inputs {len(kinds) / SYMBOLS:.1f} fixed points, "
        f"{attractors} attractors in all, {resting:.0%} of orbits end in a point; largest Lyapunov exponent "
        f"{max(exponents):.2f}."
    )
    numbers = {
        "divergence": gap,
        "adjusted Rand": clusters.adjusted_rand,
        "purity": clusters.purity,
        "fixed points": float(len(kinds)),
        "attractors": float(attractors),
        "orbits that rest": resting,
        "largest exponent": max(exponents),
    }
    return Outcome(found, clusters.adjusted_rand > 0.5 and resting > 0.5 and max(exponents) < 0, numbers)
