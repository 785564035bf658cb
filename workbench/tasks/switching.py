"""Switching sources: segments of independent symbols with hidden change points.

Each segment has a distribution of its own, drawn from a Dirichlet prior, and at every step a new one begins with a
fixed probability (Genewein et al. 2023, "Memory-Based Meta-Learning on Non-Stationary Distributions"). The exact Bayes
predictor weighs every time at which the segment may have begun (Adams and MacKay 2007, "Bayesian Online Changepoint
Detection").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import Task
from workbench.tasks.registry import register_task
from workbench.tasks.sampling import categorical, dirichlet


@dataclass(frozen=True, kw_only=True, repr=False)
class SwitchingSources(Task):
    """Segments and where they begin.

    Attributes:
        begins: whether a segment begins with each symbol.
        source_probabilities: the distribution that made each answer: what whoever knew the source would predict.
        change_probability: exact probability, given the text up to each scored position, that the segment began with
            the symbol there.
    """

    begins: Bool[Tensor, "batch symbols"]
    source_probabilities: Float[Tensor, "batch scored outcomes"]
    change_probability: Float[Tensor, "batch scored"]


@register_task("switching_sources", measures="switch time in the state")
def switching_sources(
    vocabulary: Any,
    time: int = 128,
    *,
    symbols: int = 2,
    change: float = 0.03,
    concentration: float = 0.5,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> SwitchingSources:
    """Independent symbols whose distribution is replaced by a new one at hidden times.

    `probabilities` is the exact Bayes predictor, which knows how often sources change and what they are drawn from, but
    neither when nor which. `states` is the number of symbols since the segment began: 0 for its first symbol. Scored
    is every prediction, with the labels ``"settled"``, and ``"changed"`` where the next symbol begins a new segment.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        time: tokens of a sequence.
        symbols: different tokens.
        change: probability that a new segment begins with a symbol.
        concentration: of the Dirichlet prior of the sources; 0.5 for two symbols is that of Krichevsky and Trofimov.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, too few tokens, or more tokens than the model's context.
    """
    name = "switching_sources"
    check_sizes(name, 2, time=time, symbols=symbols)
    check_sizes(name, batch=batch)
    if not 0 <= change <= 1:
        raise InputError(f"change is {change}; a probability is needed.")
    if not 0 < concentration < float("inf"):
        raise InputError(f"concentration is {concentration}; a finite number above 0 is needed.")
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    (outcomes,) = alphabet.parts(symbols=symbols)
    generator = torch.Generator().manual_seed(seed)
    begins = torch.rand(batch, time, generator=generator, dtype=torch.float64) < change
    begins[:, 0] = True
    every = dirichlet(generator, batch * time, symbols, concentration).view(batch, time, symbols)
    begun = torch.where(begins, torch.arange(time), 0).cummax(1).values
    sources = every.gather(1, begun[..., None].expand(-1, -1, symbols))
    drawn = categorical(generator, sources)
    exact, fresh = switching_predictions(drawn, symbols, change, concentration)
    steps = torch.arange(time - 1).repeat(batch, 1)
    return alphabet.finish(
        SwitchingSources(
            name=name,
            tokens=outcomes[drawn],
            positions=steps,
            answers=outcomes[drawn[:, 1:]],
            sources=torch.full_like(steps, -1),
            labels=begins[:, 1:].long(),
            label_names=("settled", "changed"),
            outcomes=outcomes,
            probabilities=exact[:, :-1],
            states=torch.arange(time) - begun,
            begins=begins,
            source_probabilities=sources[:, 1:],
            change_probability=fresh[:, :-1],
        )
    )


def switching_predictions(
    drawn: Int[Tensor, "batch time"], symbols: int, change: float, concentration: float
) -> tuple[Float[Tensor, "batch time symbols"], Float[Tensor, "batch time"]]:
    """The exact predictor of the symbol after each one, and the probability that the segment began with that one.

    Args:
        drawn: symbols, as numbers below `symbols`.
        symbols: how many there are.
        change: probability that a new segment begins with a symbol; the first one begins one.
        concentration: of the symmetric Dirichlet prior of a segment's distribution.
    """
    batch, time = drawn.shape
    # Entry [b, s, k]: how often k came in the segment, if that began with symbol s.
    counts = torch.zeros(batch, time, symbols, dtype=torch.float64)
    weight = torch.zeros(batch, time, dtype=torch.float64)
    weight[:, 0] = 1
    predictions, fresh = [], []
    for step in range(time):
        if step:
            weight = weight * (1 - change)
            weight[:, step] = change
        now = drawn[:, step]
        seen = counts[:, : step + 1] + concentration
        likely = (seen / seen.sum(-1, keepdim=True)).gather(2, now[:, None, None].expand(-1, step + 1, 1))[..., 0]
        posterior = weight[:, : step + 1] * likely
        posterior = posterior / posterior.sum(1, keepdim=True)
        weight[:, : step + 1] = posterior
        counts[torch.arange(batch)[:, None], torch.arange(step + 1), now[:, None]] += 1
        seen = counts[:, : step + 1] + concentration
        staying = torch.einsum("bs,bsk->bk", posterior, seen / seen.sum(-1, keepdim=True))
        predictions.append((1 - change) * staying + change / symbols)
        fresh.append(posterior[:, step])
    return torch.stack(predictions, dim=1), torch.stack(fresh, dim=1)
