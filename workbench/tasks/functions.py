"""Functions learned in context: x1 f(x1) x2 f(x2) ..., with the predictors that are the best there can be.

Garg et al. 2022, "What Can Transformers Learn In-Context?" (linear regression); Bhattamishra et al. 2024,
"Understanding In-Context Learning in Transformers and LLMs by Learning to Learn Discrete Functions" (sparse parity).
The function comes from a finite set that can be listed, so that the Bayes predictor is exact: every function weighs
what the examples so far leave it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from math import comb
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.alphabet import Alphabet, check_sizes
from workbench.tasks.base import SHARED, Task
from workbench.tasks.quantiser import Quantiser
from workbench.tasks.registry import register_task

_MOST_HYPOTHESES = 20_000
# Probabilities held at once while a posterior predicts: 32 MB of float64, of which a few copies are made.
_NUMBERS_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True, repr=False)
class InContextFunctions(Task):
    """Examples of a function, with the functions it might be.

    Attributes:
        hypotheses: a function each row: the weights of a linear one, or which bits a parity is taken of.
        hypothesis: the row that made each sequence.
    """

    hypotheses: Float[Tensor, "hypotheses dimensions"] = field(metadata=SHARED)
    hypothesis: Int[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True, repr=False)
class LinearRegression(InContextFunctions):
    """Examples of a linear function.

    Attributes:
        values: what each answer stands for.
        least_squares: the least-squares prediction of each answer from the examples before it: the shortest weights
            among the best ones, and 0 before the first example.
        ridge_probabilities: of each outcome, for a Bayesian who thinks the weights normal, with the variance they
            have, and rounding a noise: what a reader expects who knows of no grid; hand it to `score_predictions`.
    """

    values: Float[Tensor, "batch scored"]
    least_squares: Float[Tensor, "batch scored"]
    ridge_probabilities: Float[Tensor, "batch scored outcomes"]


@register_task("linear_regression", measures="algorithms in context")
def linear_regression(
    vocabulary: Any,
    dimensions: int = 2,
    examples: int = 16,
    *,
    weights: int = 9,
    levels: int = 9,
    outputs: int = 33,
    noise: float = 0.1,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> LinearRegression:
    """Points x and values y = w x + noise, with new weights w in each sequence, all written in levels.

    Each coordinate of x is a token: one of `levels` numbers from -1 to 1. So is y: the nearest of `outputs` numbers
    from -d to d, for d dimensions, numbers beyond belonging to the ends. Each weight is one of `weights` numbers from
    -1 to 1. All are equally spaced and drawn uniformly. Scored is every y, with one label an example (``"example_1"``,
    ...). `probabilities` is the exact Bayes predictor over all weights.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        dimensions: coordinates of a point.
        examples: points of a sequence.
        weights: numbers a weight can be.
        levels: numbers a coordinate can be.
        outputs: numbers a value can be.
        noise: standard deviation of what is added to each value before it is rounded.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, more than 20000 hypotheses, too few tokens, or more tokens than the model's
            context.
    """
    name = "linear_regression"
    check_sizes(name, dimensions=dimensions, examples=examples, batch=batch)
    check_sizes(name, 2, weights=weights, levels=levels, outputs=outputs)
    if not 0 <= noise < float("inf"):
        raise InputError(f"noise is {noise}; a standard deviation is needed.")
    _check_hypotheses(name, weights**dimensions)
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    written, outcomes = alphabet.parts(levels=levels, outputs=outputs)
    inputs, results = Quantiser(-1, 1, levels), Quantiser(-dimensions, dimensions, outputs)
    grid = Quantiser(-1, 1, weights).numbers
    hypotheses = torch.cartesian_prod(*[grid] * dimensions).view(-1, dimensions)

    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(hypotheses), (batch,), generator=generator)
    places = torch.randint(levels, (batch, examples, dimensions), generator=generator)
    points = inputs.decode(places)
    exact = torch.einsum("bnd,bd->bn", points, hypotheses[chosen])
    shaken = exact + noise * torch.randn(batch, examples, generator=generator, dtype=torch.float64)
    right = results.encode(shaken)
    values = results.decode(right)

    step = max(1, _NUMBERS_AT_ONCE // (examples * len(hypotheses) * outputs))
    found = []
    for part in torch.arange(batch).split(step):
        means = torch.einsum("bnd,hd->bnh", points[part], hypotheses)
        found.append(posterior_predictions(results.chances(means, noise), right[part]))
    tokens = torch.cat([written[places], outcomes[right][..., None]], dim=2).flatten(1)
    positions = torch.arange(examples) * (dimensions + 1) + dimensions - 1
    return alphabet.finish(
        LinearRegression(
            name=name,
            tokens=tokens,
            positions=positions.repeat(batch, 1),
            answers=outcomes[right],
            sources=torch.full_like(right, -1),
            labels=torch.arange(examples).repeat(batch, 1),
            label_names=_example_names(examples),
            outcomes=outcomes,
            probabilities=torch.cat(found),
            hypotheses=hypotheses,
            hypothesis=chosen,
            values=values,
            least_squares=least_squares(points, values),
            ridge_probabilities=_ridge(points, values, noise, grid, results),
        )
    )


@register_task("sparse_parity", measures="algorithms in context")
def sparse_parity(
    vocabulary: Any,
    dimensions: int = 10,
    examples: int = 16,
    *,
    bits: int = 2,
    noise: float = 0.0,
    batch: int = 32,
    seed: int = 0,
    avoid: Iterable[int] | None = None,
    bos: bool | int | None = None,
) -> InContextFunctions:
    """Bit strings, each with the parity of a few of its bits, the same hidden few within a sequence.

    Bits are two tokens and parities two others, of which the wrong one is the distractor. Scored is every parity, with
    one label an example (``"example_1"``, ...). `probabilities` is the exact Bayes predictor over all choices of bits.

    Args:
        vocabulary: a vocabulary size, a tokenizer or a hooked model.
        dimensions: bits of a string.
        examples: strings of a sequence.
        bits: how many of them count.
        noise: probability that a parity is written the wrong way round.
        batch: independent sequences.
        seed: the same seed gives the same tokens on every device.
        avoid: ids that are never drawn; by default the special tokens of the model's tokenizer.
        bos: token to put in front: an id, or True for the model's own; None or False for none.

    Raises:
        InputError: a size out of range, more than 20000 hypotheses, too few tokens, or more tokens than the model's
            context.
    """
    name = "sparse_parity"
    check_sizes(name, dimensions=dimensions, examples=examples, bits=bits, batch=batch)
    if bits > dimensions:
        raise InputError(f"bits is {bits}; a string of task {name!r} has {dimensions}.")
    if not 0 <= noise <= 0.5:
        raise InputError(f"noise is {noise}; a probability from 0 to 0.5 is needed.")
    _check_hypotheses(name, comb(dimensions, bits))
    alphabet = Alphabet.of(name, vocabulary, avoid, bos)
    written, outcomes = alphabet.parts(bits=2, parities=2)
    subsets = torch.tensor(list(combinations(range(dimensions), bits)))
    hypotheses = torch.zeros(len(subsets), dimensions).scatter_(1, subsets, 1.0)

    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(hypotheses), (batch,), generator=generator)
    strings = torch.randint(2, (batch, examples, dimensions), generator=generator)
    every = (torch.einsum("bnd,hd->bnh", strings.float(), hypotheses) % 2).long()
    exact = every.gather(2, chosen[:, None, None].expand(-1, examples, 1))[..., 0]
    flipped = torch.rand(batch, examples, generator=generator) < noise
    right = torch.where(flipped, 1 - exact, exact)
    one = noise + (1 - 2 * noise) * every.double()
    found = posterior_predictions(torch.stack([1 - one, one], dim=-1), right)
    positions = torch.arange(examples) * (dimensions + 1) + dimensions - 1
    return alphabet.finish(
        InContextFunctions(
            name=name,
            tokens=torch.cat([written[strings], outcomes[right][..., None]], dim=2).flatten(1),
            positions=positions.repeat(batch, 1),
            answers=outcomes[right],
            sources=torch.full_like(right, -1),
            labels=torch.arange(examples).repeat(batch, 1),
            label_names=_example_names(examples),
            distractors=outcomes[1 - right][..., None],
            outcomes=outcomes,
            probabilities=found,
            hypotheses=hypotheses,
            hypothesis=chosen,
        )
    )


def posterior_predictions(
    chances: Float[Tensor, "batch examples hypotheses outcomes"], seen: Int[Tensor, "batch examples"]
) -> Float[Tensor, "batch examples outcomes"]:
    """What a Bayesian to whom all hypotheses are equally likely at first expects of each example, given those before.

    Args:
        chances: probability of each outcome of each example under each hypothesis.
        seen: the outcome that came.
    """
    came = chances.gather(-1, seen[:, :, None, None].expand(*chances.shape[:3], 1))[..., 0].log()
    before = torch.cat([torch.zeros_like(came[:, :1]), came[:, :-1].cumsum(1)], dim=1)
    return torch.einsum("bnh,bnho->bno", before.softmax(-1), chances)


def least_squares(
    points: Float[Tensor, "batch examples dimensions"], values: Float[Tensor, "batch examples"]
) -> Float[Tensor, "batch examples"]:
    """The prediction of each value from the points and values before it, by the shortest of the best weights.

    Args:
        points: inputs.
        values: outputs, in the units of the predictions.
    """
    found = torch.zeros_like(values)
    for n in range(1, values.shape[1]):
        fitted = torch.linalg.pinv(points[:, :n]) @ values[:, :n, None]
        found[:, n] = (points[:, n, None] @ fitted)[:, 0, 0]
    return found


def _ridge(
    points: Float[Tensor, "batch examples dimensions"],
    values: Float[Tensor, "batch examples"],
    noise: float,
    grid: Float[Tensor, " weights"],
    results: Quantiser,
) -> Float[Tensor, "batch examples outcomes"]:
    """Probability of each level of a value, given the values before it, for normal weights and normal noise."""
    # A number that is rounded to the nearest multiple of the step is off by a uniform error of this variance.
    rounding = results.step**2 / 12
    seen = noise**2 + rounding
    outer = torch.einsum("bnd,bne->bnde", points, points)
    crossed = points * values[..., None]
    precision = (outer.cumsum(1) - outer) / seen + torch.eye(
        points.shape[-1], dtype=torch.float64
    ) / grid.square().mean()
    solved = torch.linalg.solve(precision, torch.stack([(crossed.cumsum(1) - crossed) / seen, points], dim=-1))
    mean, spread = torch.einsum("bnd,bndk->bnk", points, solved).unbind(-1)
    found = results.chances(mean, (spread + max(noise**2, rounding)).sqrt())
    # A tail that is too small for a number would make the divergence from the exact predictor infinite.
    return found.clamp(min=torch.finfo(found.dtype).tiny)


def _example_names(examples: int) -> tuple[str, ...]:
    return tuple(f"example_{n}" for n in range(1, examples + 1))


def _check_hypotheses(name: str, count: int) -> None:
    if count > _MOST_HYPOTHESES:
        raise InputError(
            f"Task {name!r} has {count} hypotheses at these sizes; at most {_MOST_HYPOTHESES} are possible."
        )
