"""Longhorn's state is what its objective asks for, one channel at a time."""

import pytest
import torch
from torch import Tensor

from tests.zoo.random_mixer import TIME, WIDTH, build, tokens, weights
from tests.zoo.recurrences import Weights, sigmoid, silu
from workbench.errors import InputError

INNER, STATE, RANK = 2 * WIDTH, 5, 2


def convolved(given: Weights, flat: Tensor) -> Tensor:
    taps, rows = given["conv1d.weight"][:, 0], []
    for t in range(len(flat)):
        row = given["conv1d.bias"].clone()
        for back in range(min(t + 1, taps.shape[-1])):
            row = row + taps[:, -1 - back] * flat[t - back]
        rows.append(silu(row))
    return torch.stack(rows)


def solved(state: Tensor, k: Tensor, x: Tensor, beta: Tensor) -> Tensor:
    """The minimiser of ``|s - state|^2 + beta (s . k - x)^2``, by its normal equations."""
    system = torch.eye(len(k), dtype=k.dtype) + beta * torch.outer(k, k)
    return torch.linalg.solve(system, state + beta * x * k)


def diagonal(state: Tensor, k: Tensor, x: Tensor, beta: Tensor) -> Tensor:
    step = beta / (1 + beta * (k * k).sum())
    return (1 - step * k * k) * state + step * x * k


@pytest.mark.parametrize(("transition", "update"), [("full", solved), ("diagonal", diagonal)])
@torch.no_grad()
def test_longhorn_is_the_papers_recurrence(transition: str, update: object) -> None:
    assert callable(update)
    mixer = build("longhorn", transition=transition, state_size=STATE, dt_rank=RANK)
    given, x = weights(mixer), tokens()
    both = x @ given["in_proj.weight"].T
    active, gate = convolved(given, both[:, :INNER]), silu(both[:, INNER:])
    selected = active @ given["x_proj.weight"].T
    beta = sigmoid(selected[:, :RANK] @ given["dt_proj.weight"].T + given["dt_proj.bias"])
    k, q = selected[:, RANK : RANK + STATE], selected[:, RANK + STATE :]
    read = torch.zeros(TIME, INNER, dtype=x.dtype)
    for channel in range(INNER):
        state = torch.zeros(STATE, dtype=x.dtype)
        for t in range(TIME):
            state = update(state, k[t], active[t, channel], beta[t, channel])
            read[t, channel] = (state * q[t]).sum()
    expected = ((read + given["D"] * active) * gate) @ given["out_proj.weight"].T
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("transition", ["full", "diagonal"])
def test_gradients_are_those_of_finite_differences(transition: str) -> None:
    mixer = build("longhorn", transition=transition, state_size=3, expand=1)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    assert torch.autograd.gradcheck(lambda x: mixer(x, attention_mask=mask)[mask], (x,))


@pytest.mark.parametrize(
    ("options", "message"), [({"rank": 2}, "no option 'rank'"), ({"transition": "half"}, "neither 'diagonal'")]
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("longhorn", **options)
