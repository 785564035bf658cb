"""The loop that shows its states, and what an edited state does to everything after it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import RECURRENT, cut, operands, relative_error, states
from workbench import kernels
from workbench.kernels import segments
from workbench.kernels.native import backend as native


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


CHOSEN = [[], [0], [18], [3, 11], [4, 5, 6, 18], [0, 17]]


@pytest.mark.parametrize("backend", ["auto", "chunked", "reference"])
@pytest.mark.parametrize("at", CHOSEN, ids=str)
@pytest.mark.parametrize("kind", RECURRENT)
def test_an_edit_at_chosen_steps_is_the_edit_of_a_loop_that_acts_only_there(
    kind: str, at: list[int], backend: kernels.Backend
) -> None:
    form = RECURRENT[kind](19)
    start = states(form)
    seen: list[int] = []

    def edit(t: int, state: Tensor) -> Tensor | None:
        seen.append(t)
        return state * -2.0 + 0.5 if t in at else None

    expected, last = kernels.iterate(form, start, edit)
    assert seen == list(range(19))
    seen.clear()
    outputs, final = kernels.iterate(form, start, edit, at=reversed(at), backend=backend)
    assert seen == at
    assert relative_error(outputs, expected) < 1e-10
    assert relative_error(final, last) < 1e-10


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_state_may_be_changed_in_place_at_a_chosen_step(kind: str) -> None:
    form = RECURRENT[kind](9)

    def in_place(t: int, state: Tensor) -> None:
        state.mul_(-2.0)

    outputs, final = kernels.iterate(form, None, in_place, at=[4])
    expected, last = kernels.iterate(form, None, lambda t, state: state * -2.0 if t == 4 else None)
    assert relative_error(outputs, expected) < 1e-10
    assert relative_error(final, last) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", RECURRENT)
def test_states_at_chosen_steps_are_those_of_the_loop_in_float32(kind: str, dtype: torch.dtype) -> None:
    form = RECURRENT[kind](19, dtype)
    every: list[Tensor] = []
    kernels.iterate(form, on_state=lambda t, state: every.append(state))
    for at in ([18, 3, 3, 4], [0], list(range(19))):
        chosen = kernels.states(form, at)
        assert chosen.dtype == torch.float32
        assert relative_error(chosen, torch.stack([every[t] for t in at], dim=1)) < 1e-5
    assert kernels.states(form, []).shape == chosen[:, :0].shape


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("kind", RECURRENT)
def test_runs_of_no_step_and_of_one(kind: str, time: int) -> None:
    form = RECURRENT[kind](time)
    start = states(form)
    expected, last = kernels.iterate(form, start)
    outputs, final = kernels.iterate(form, start, lambda t, state: None, at=range(time))
    assert relative_error(outputs, expected) < 1e-12
    assert relative_error(final, last) < 1e-12
    assert relative_error(kernels.states(form, range(time), start), torch.stack([last] * time, 1) if time else
                          start[:, None][:, :0]) < 1e-12  # fmt: skip


@pytest.mark.parametrize("kind", RECURRENT)
def test_gradients_of_an_edited_run_in_segments_are_those_of_the_loop(kind: str) -> None:
    form = RECURRENT[kind](13)
    start = states(form).requires_grad_()
    leaves = [x.requires_grad_() for x in random_forms.operands(form).values()]
    weights = torch.randn_like(form.v)

    def edit(t: int, state: Tensor) -> Tensor | None:
        return state.sin() if t == 7 else None

    def gradients(outputs: Tensor, final: Tensor) -> list[Tensor]:
        loss = (outputs * weights).sum() + final.square().sum()
        grads = torch.autograd.grad(loss, [*leaves, start], allow_unused=True)
        return [torch.zeros(1) if grad is None else grad for grad in grads]

    expected = gradients(*kernels.iterate(form, start, edit))
    for got, want in zip(gradients(*kernels.iterate(form, start, edit, at=[7])), expected, strict=True):
        assert relative_error(got, want) < 1e-9
    read = kernels.states(form, [0], start)
    assert torch.autograd.grad(read.sum(), start)[0].abs().max() > 0


@pytest.mark.parametrize("wrong", [-1, 9])
def test_a_step_outside_the_run_is_refused(wrong: int) -> None:
    form = RECURRENT["mamba"](9)
    for run in (lambda: kernels.iterate(form, at=[3, wrong]), lambda: kernels.states(form, [wrong])):
        with pytest.raises(ValueError, match=rf"step {wrong} is not in this run, whose steps go from 0 to 8"):
            run()


def test_what_lies_between_chosen_steps_never_reaches_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.kernels.diagonal_decay import reference

    taken: list[int] = []
    forward = reference.forward

    def counted(form: kernels.DiagonalDecay, *rest: object) -> tuple[Tensor, Tensor]:
        taken.append(form.time)
        return forward(form, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reference, "forward", counted)
    kernels.iterate(RECURRENT["mamba"](200), on_state=lambda t, state: None, at=[50, 51, 120])
    assert taken == [2, 1]


@pytest.mark.parametrize("kind", [kind for kind in RECURRENT if not kind.startswith("toeplitz")])
def test_states_of_one_fused_pass_are_those_of_the_reference(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if native.recurrence.library() is None:
        pytest.skip("The compiled loops need a C++ compiler.")
    form = RECURRENT[kind](40, torch.float32)
    start = states(form).float()
    exact = replace(form, **{name: operand.double() for name, operand in operands(form).items()})
    at = [17, 0, 39, 16, 17]
    expected = kernels.states(exact, at, start.double(), backend="reference")
    monkeypatch.setattr(segments, "iterate", lambda *args: pytest.fail("the steps were taken in Python"))
    found = kernels.states(form, at, start)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert relative_error(found, expected) < 2e-6
