"""Published recurrences, each written down on its own, are the delta form that the docstring of `Delta` names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.kernels.random_forms import relative_error
from workbench.kernels.delta import chunked, reference
from workbench.kernels.forms import Delta

TIME, KEY, VALUE = 70, 5, 3


def draw() -> tuple[Tensor, ...]:
    """Query, key, value, beta up to 2 and two decays of one head, and an initial state of [key, value]."""
    numbers = {"dtype": torch.float64}
    q, k = torch.randn(2, TIME, KEY, **numbers)
    return (
        q,
        normalize(k, dim=-1),
        torch.randn(TIME, VALUE, **numbers),
        2 * torch.rand(TIME, **numbers),
        torch.rand(TIME, **numbers),
        torch.rand(TIME, KEY, **numbers),
        torch.randn(KEY, VALUE, **numbers),
    )


def form(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, **others: Tensor) -> Delta:
    q, k, v, log_decay = (x[None, :, None] for x in (q, k, v, log_decay))
    return Delta(q, k, v, log_decay, **{name: x[None, :, None] for name, x in others.items()})


def deltanet() -> tuple[Delta, Tensor, list[Tensor], Tensor]:
    q, k, v, beta, _, _, state = draw()
    initial, outputs = state, []
    for t in range(TIME):
        old = k[t] @ state
        state = state + torch.outer(k[t], beta[t] * (v[t] - old))
        outputs.append(q[t] @ state)
    return form(q, k, v, torch.zeros(TIME, 1).double(), write=beta), initial, outputs, state


def gated_deltanet() -> tuple[Delta, Tensor, list[Tensor], Tensor]:
    # Yang et al. 2025, arXiv:2412.06464, equation 10.
    q, k, v, beta, alpha, _, state = draw()
    initial, outputs = state, []
    for t in range(TIME):
        state = alpha[t] * (torch.eye(KEY) - beta[t] * torch.outer(k[t], k[t])) @ state + beta[t] * torch.outer(
            k[t], v[t]
        )
        outputs.append(q[t] @ state)
    return form(q, k, v, alpha.log()[:, None], write=beta), initial, outputs, state


def kda() -> tuple[Delta, Tensor, list[Tensor], Tensor]:
    # Kimi Delta Attention (arXiv:2510.26692), equation 1: the decay of every channel first, then the correction.
    q, k, v, beta, _, alpha, state = draw()
    initial, outputs = state, []
    for t in range(TIME):
        state = alpha[t][:, None] * state
        state = state - beta[t] * torch.outer(k[t], k[t] @ state) + beta[t] * torch.outer(k[t], v[t])
        outputs.append(q[t] @ state)
    return form(q, k, v, alpha.log(), write=beta), initial, outputs, state


def rwkv7() -> tuple[Delta, Tensor, list[Tensor], Tensor]:
    # Peng et al. 2025, arXiv:2503.14456, equation 17: states are [value, key], and what is removed is looked up in the
    # state before its decay.
    q, removal, v, _, _, a, initial = draw()
    k = torch.randn(TIME, KEY, dtype=torch.float64)
    w = torch.rand(TIME, KEY, dtype=torch.float64) * 0.45 + 0.55
    state, outputs = initial.T, []
    for t in range(TIME):
        look = state @ removal[t]
        state = state * w[t] - torch.outer(look, removal[t] * a[t]) + torch.outer(v[t], k[t])
        outputs.append(state @ q[t])
    return form(q, k, v, w.log(), probe=removal / w, erase=removal * a), initial, outputs, state.T


@pytest.mark.parametrize("run", [reference.forward, chunked.forward], ids=["reference", "chunked"])
@pytest.mark.parametrize("family", [deltanet, gated_deltanet, kda, rwkv7])
def test_a_published_recurrence_is_a_delta_form(
    family: Callable[[], tuple[Delta, Tensor, list[Tensor], Tensor]],
    run: Callable[[Delta, Tensor], tuple[Tensor, Tensor]],
) -> None:
    given, initial, expected, last = family()
    outputs, final = run(given, initial[None, None])
    assert relative_error(outputs[0, :, 0], torch.stack(expected)) < 1e-10
    assert relative_error(final[0, 0], last) < 1e-10
