"""Rows about features of more than one dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.replications import Outcome, replication
from workbench.probes.replications.rows.finders import smollm2
from workbench.saes.geometry import CirclePatch, angles_of, fit_circle
from workbench.saes.site import VectorSite
from workbench.tasks import bootstrap_mean
from workbench.tasks.words import MONTHS, WEEKDAYS

# A quarter of the way up, where the paper patches models of 32 layers.
HOOK = "blocks.8.hook_resid_post"
OFFSETS = ("Two", "Three", "Four")
ORDERS = 500


@replication(
    "not-all-features-are-linear",
    section="Changing a model",
    paper="Not All Language Model Features Are One-Dimensionally Linear (Engels et al. 2024), the circles",
    published="days and months lie on circles, and patching the circle moves the answer of a calendar sum",
    ask="circle = fit_circle(vectors, angles_of(days, 7)); CirclePatch(circle, site, angle=angle, position=place)",
)
def circles() -> Outcome:
    """SmolLM2 on the paper's sums of days and months; where it is missing, `make inputs` fetches it.

    The shape: a circle in the calendar's order holds more of the variance of the days, and of the months, than 95 % of
    circles in other orders; and days moved along the circle move log-probability to the answer of the new day rather
    than to the days that are neither the old nor the new answer (interval over prompts). That small models do few of
    these sums right is for the sentence to say. The paper finds its circles by clusters of an autoencoder's features;
    SmolLM2 has no autoencoder here, so they are fitted to the words' own vectors.
    """
    model = smollm2()
    numbers: dict[str, float] = {}
    agrees = True
    days = _prompts(model, "Let's do some day of the week math. {} days from {} is", WEEKDAYS)
    months = _prompts(model, "Let's do some calendar math. {} months from {} is", MONTHS)
    parts = []
    for name, words, prompts in (("days", WEEKDAYS, days), ("months", MONTHS, months)):
        vectors = _vectors(model, prompts)
        own, better = _order(vectors, len(words))
        numbers |= {f"{name}: variance on the circle": own, f"{name}: share of other orders that hold as much": better}
        agrees &= better <= 0.05
        parts.append(f"{name} {own:.2f} of the variance (as much in {better:.1%} of other orders)")
    right, toward = _moved(model, days)
    mean, low, high = bootstrap_mean(toward)
    numbers |= {
        "days: sums right": right,
        "days: log-odds of the new answer": mean,
        "days: low": low,
        "days: high": high,
    }
    agrees &= low > 0
    found = (
        f"Circles in the calendar's order hold: {', '.join(parts)}. Days moved along theirs change the log-odds of the "
        f"new answer by {mean:.2f} ({low:.2f} to {high:.2f}), and the model does {right:.0%} of the sums right."
    )
    return Outcome(found, agrees, numbers)


def _prompts(model: HookedModel, sentence: str, words: Sequence[str]) -> Int[Tensor, "offsets words time"]:
    """Token ids, with each word at one place, the last but one.

    Raises:
        InputError: a word of the sentence is several tokens.
    """
    texts = [[sentence.format(offset, word) for word in words] for offset in OFFSETS]
    rows = [[model.tokens.encode(text, prepend_bos=False)[0][0] for text in line] for line in texts]
    if len({len(row) for line in rows for row in line}) > 1:
        raise InputError("The prompts are of different lengths: not every number and word is one token.")
    return torch.stack([torch.stack(line) for line in rows])


@torch.no_grad()
def _vectors(model: HookedModel, prompts: Int[Tensor, "offsets words time"]) -> Float[Tensor, "words d"]:
    """The mean vector of every word, over prompts."""
    _, cache = model.run_with_cache(prompts.flatten(0, 1), names_filter=HOOK, stop_at_layer=9)
    found: Tensor = cache[HOOK][:, -2].unflatten(0, prompts.shape[:2]).mean(0)
    return found


def _order(vectors: Float[Tensor, "words d"], period: int) -> tuple[float, float]:
    """Share of the variance on a circle in the calendar's order, and how many other orders have as much."""
    centred = vectors.double().cpu().numpy()
    centred = centred - centred.mean(0)
    angles = angles_of(range(period), period).numpy()
    # Of equally spaced angles cosine and sine are orthogonal, so that the fit is a projection.
    waves = np.stack([np.cos(angles), np.sin(angles)]) / np.sqrt(period / 2)
    generator = np.random.default_rng(0)

    def held(order: Int[np.ndarray, " words"]) -> float:
        return float(np.square(waves @ centred[order]).sum() / np.square(centred).sum())

    own = held(np.arange(period))
    others = [held(np.array([0, *1 + generator.permutation(period - 1)])) for _ in range(ORDERS)]
    return own, float(np.mean([other >= own - 1e-12 for other in others]))


@torch.no_grad()
def _moved(model: HookedModel, prompts: Int[Tensor, "offsets words time"]) -> tuple[float, Float[Tensor, " prompts"]]:
    """Share of sums that the model does right, and by how much moving the day raises the new answer over other days."""
    _, cache = model.run_with_cache(prompts.flatten(0, 1), names_filter=HOOK, stop_at_layer=9)
    count = len(WEEKDAYS)
    day = torch.arange(count).repeat(len(OFFSETS))
    offset = torch.arange(len(OFFSETS)).repeat_interleave(count) + 2
    circle = fit_circle(cache[HOOK][:, -2], angles_of(day.numpy(), count))
    names = torch.stack([model.tokens.encode(f" {word}", prepend_bos=False)[0][0, 0] for word in WEEKDAYS])
    tokens = prompts.flatten(0, 1)
    clean = model(tokens)[:, -1, names].log_softmax(-1)
    answer = (day + offset) % count
    right = float((clean.argmax(-1) == answer).float().mean())
    raised = torch.zeros(len(tokens), count - 1)
    every = torch.arange(len(tokens))
    for step in range(1, count):
        patch = CirclePatch(
            circle, VectorSite.of(model, HOOK), turn=2 * torch.pi * step / count, position=tokens.shape[1] - 2
        )
        with patch.applied(model, tokens):
            change = model(tokens)[:, -1, names].log_softmax(-1) - clean
        new = (answer + step) % count
        others = change.sum(-1) - change[every, answer] - change[every, new]
        raised[:, step - 1] = change[every, new] - others / (count - 2)
    return right, raised.mean(1)
