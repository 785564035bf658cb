"""The loop that shows its states, and what an edited state does to everything after it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import RECURRENT, cut, relative_error, states
from workbench import kernels


def output(form: kernels.RecurrentForm, t: int, before: Tensor, after: Tensor) -> Tensor:
    """What a step reads of the states before and after it: ``[batch, heads, value]``."""
    if isinstance(form, kernels.Toeplitz):
        register = torch.cat([after, before[:, :, -1:]], dim=2)
        return torch.einsum("bhlv,hl->bhv", register, form.kernel)
    q = form.q[:, t].repeat_interleave(6 // form.q.shape[2], dim=1)
    read = torch.einsum("bhkv,bhk->bhv", after if form.diagonal is None else before, q)
    if form.read is not None:
        read = read * form.read[:, t, :, None]
    return read if form.diagonal is None else read + form.diagonal[:, t, :, None] * form.v[:, t]


@pytest.mark.parametrize("kind", RECURRENT)
def test_every_state_is_shown_once_in_order_and_gives_the_output(kind: str) -> None:
    form = RECURRENT[kind](9)
    seen: list[tuple[int, Tensor]] = []
    outputs, final = kernels.iterate(form, on_state=lambda t, state: seen.append((t, state)))
    assert [t for t, _ in seen] == list(range(9))
    assert torch.equal(seen[-1][1], final)
    before = torch.zeros_like(final)
    for t, state in seen:
        assert relative_error(outputs[:, t], output(form, t, before, state)) < 1e-12
        before = state


@pytest.mark.parametrize("kind", RECURRENT)
def test_an_edited_state_reaches_every_output_that_reads_it_and_every_later_state(kind: str) -> None:
    form = RECURRENT[kind](30)
    untouched, _ = kernels.iterate(form)
    replacement, shown = states(form), []

    def edit(t: int, state: Tensor) -> Tensor | None:
        shown.append(state)
        return replacement if t == 11 else None

    edited, final = kernels.iterate(form, on_state=edit)

    assert torch.equal(edited[:, :11], untouched[:, :11])
    assert relative_error(edited[:, 11], output(form, 11, shown[10], replacement)) < 1e-12
    expected, last = kernels.forward(cut(form, slice(12, None)), replacement, backend="chunked")
    assert relative_error(edited[:, 12:], expected) < 1e-10
    assert last is not None
    assert relative_error(final, last) < 1e-10


@pytest.mark.parametrize("kind", RECURRENT)
def test_steps_one_by_one_are_the_forward_run(kind: str) -> None:
    form = RECURRENT[kind](8)
    state = states(form)
    expected, last = kernels.forward(form, state)
    for t in range(8):
        outputs, state = kernels.step(cut(form, slice(t, t + 1)), state)
        assert relative_error(outputs[:, 0], expected[:, t]) < 1e-10
    assert last is not None
    assert relative_error(state, last) < 1e-10
    with pytest.raises(ValueError, match="one time step, this one has 8"):
        kernels.step(form, state)


def test_a_final_state_does_not_keep_a_chunk_alive() -> None:
    form = random_forms.mamba(64, torch.float32)
    _, state = kernels.forward(form, backend="chunked")
    assert state is not None
    assert state.untyped_storage().nbytes() == state.numel() * state.element_size()


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_state_of_another_shape_is_refused_with_both_shapes(kind: str) -> None:
    form = RECURRENT[kind](1)
    state = states(form)
    right, wrong = [*state.shape], [2, 6, state.shape[2] + 1, state.shape[3]]
    for run in (kernels.forward, kernels.iterate, kernels.step):
        with pytest.raises(ValueError, match=re.escape(f"state is {right}")) as refused:
            run(form, torch.zeros(wrong, dtype=torch.float64))
        assert str(wrong) in str(refused.value)
