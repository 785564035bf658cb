"""The loop that shows its states, and what an edited state does to everything after it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import RECURRENT, relative_error
from workbench import kernels


@pytest.mark.parametrize("kind", RECURRENT)
def test_every_state_is_shown_once_in_order_and_gives_the_output(kind: str) -> None:
    form = RECURRENT[kind](9)
    seen: list[tuple[int, Tensor]] = []
    outputs, final = kernels.iterate(form, on_state=lambda t, state: seen.append((t, state)))
    assert [t for t, _ in seen] == list(range(9))
    assert torch.equal(seen[-1][1], final)
    groups = form.q.shape[2]
    for t, state in seen:
        q = form.q[:, t].repeat_interleave(6 // groups, dim=1)
        assert relative_error(outputs[:, t], torch.einsum("bhkv,bhk->bhv", state, q)) < 1e-12


@pytest.mark.parametrize("kind", RECURRENT)
def test_an_edited_state_reaches_its_own_output_and_every_later_one(kind: str) -> None:
    form = RECURRENT[kind](30)
    untouched, _ = kernels.iterate(form)
    replacement = torch.randn(2, 6, form.k.shape[-1], form.v.shape[-1], dtype=torch.float64)

    edited, final = kernels.iterate(form, on_state=lambda t, state: replacement if t == 11 else None)

    assert torch.equal(edited[:, :11], untouched[:, :11])
    groups = form.q.shape[2]
    q = form.q[:, 11].repeat_interleave(6 // groups, dim=1)
    assert relative_error(edited[:, 11], torch.einsum("bhkv,bhk->bhv", replacement, q)) < 1e-12
    names = ("q", "k", "v", "log_decay", "write")
    later = replace(form, **{name: getattr(form, name)[:, 12:] for name in names})
    expected, last = kernels.forward(later, replacement, backend="chunked")
    assert relative_error(edited[:, 12:], expected) < 1e-10
    assert last is not None
    assert relative_error(final, last) < 1e-10


@pytest.mark.parametrize("kind", RECURRENT)
def test_steps_one_by_one_are_the_forward_run(kind: str) -> None:
    form = RECURRENT[kind](8)
    expected, last = kernels.forward(form)
    state = torch.zeros(2, 6, form.k.shape[-1], form.v.shape[-1], dtype=torch.float64)
    for t in range(8):
        names = ("q", "k", "v", "log_decay", "write")
        now = replace(form, **{name: getattr(form, name)[:, t : t + 1] for name in names})
        outputs, state = kernels.step(now, state)
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
