"""The definition in `workbench.kernels.forms`, one head and one step at a time, with every transition as a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.kernels import Delta, DiagonalDecay, RecurrentForm, Toeplitz


def of_head(form: RecurrentForm, name: str, b: int, t: int, h: int, missing: Tensor) -> Tensor:
    """An operand at a step, from the group that the head reads."""
    operand: Tensor | None = getattr(form, name)
    return missing if operand is None else operand[b, t, h * operand.shape[2] // form.heads].double()


def step(form: RecurrentForm, b: int, t: int, h: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """M_t, w_t k_t, r_t q_t and the exclusive diagonal (NaN where there is none)."""
    assert not isinstance(form, Toeplitz)
    one = torch.ones((), dtype=torch.float64)
    k = of_head(form, "k", b, t, h, one)
    source = of_head(form, "write", b, t, h, one) * k
    decay = of_head(form, "log_decay", b, t, h, one) * torch.ones(len(k), dtype=torch.float64)
    if isinstance(form, DiagonalDecay) and form.rate is not None:
        decay = decay * form.rate[h].double()
    transition = torch.diag(decay.exp())
    if isinstance(form, Delta):
        probe = of_head(form, "probe", b, t, h, k)
        transition = (torch.eye(len(k)).double() - torch.outer(of_head(form, "erase", b, t, h, source), probe)) @ (
            transition
        )
    query = of_head(form, "read", b, t, h, one) * of_head(form, "q", b, t, h, one)
    return transition, source, query, of_head(form, "diagonal", b, t, h, torch.nan * one)


def matrix(form: RecurrentForm) -> Tensor:
    """A, ``[batch, heads, time, source]``."""
    result = torch.zeros(form.batch, form.heads, form.time, form.time, dtype=torch.float64)
    for b in range(form.batch):
        for h in range(form.heads):
            if isinstance(form, Toeplitz):
                for t in range(form.time):
                    for s in range(max(0, t - form.kernel.shape[1] + 1), t + 1):
                        result[b, h, t, s] = form.kernel[h, t - s]
                continue
            steps = [step(form, b, t, h) for t in range(form.time)]
            for s in range(form.time):
                carried = steps[s][1]
                for t in range(s, form.time):
                    transition, _, query, diagonal = steps[t]
                    read = query @ (carried if t == s else transition @ carried)
                    if not diagonal.isnan():
                        read = diagonal if t == s else query @ carried
                    result[b, h, t, s] = read
                    carried = carried if t == s else transition @ carried
    return result


def run(form: RecurrentForm, initial: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs and the state after every step."""
    outputs = torch.zeros(form.v.shape, dtype=torch.float64)
    states = [initial.double()]
    for t in range(form.time):
        state = torch.zeros_like(states[-1])
        for b in range(form.batch):
            for h in range(form.heads):
                before, v = states[-1][b, h], form.v[b, t, h].double()
                if isinstance(form, Toeplitz):
                    register = torch.cat([v[None], before])
                    outputs[b, t, h] = form.kernel[h].double() @ register
                    state[b, h] = register[: len(before)]
                    continue
                transition, source, query, diagonal = step(form, b, t, h)
                state[b, h] = transition @ before + torch.outer(source, v)
                outputs[b, t, h] = query @ state[b, h] if diagonal.isnan() else query @ before + diagonal * v
        states.append(state)
    return outputs, states[1:]
