"""Hooks inside recurrent mixers: what they show, in which order and shape, and what an edit does."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.workbench.recurrent_cases import BATCH, CASES, TIME, batch_of_tokens, build, hooked, record, run
from workbench.forms import DiagonalDecay, MixerForm
from workbench.hooks import HookPoint

HEADS, VALUE, KEY, GROUPS = 0, 1, 2, 3
SIZES = {  # heads, value channels a head, state size, groups of B and C
    "mamba": (24, 1, 5, 1),
    "falcon_mamba": (24, 1, 5, 1),
    "mamba2": (6, 4, 5, 2),
    "zoo mamba": (24, 1, 5, 1),
    "zoo mamba2": (6, 4, 5, 1),
}


def manual_states(form: MixerForm, edit: Any = None) -> tuple[Tensor, Tensor]:
    """States ``[time, B, H, K, V]`` and outputs of the recurrence, written out token by token from its definition."""
    core = form.core
    assert not hasattr(core, "scale")
    heads = core.v.shape[2]
    each = heads // core.q.shape[2]
    log_decay = core.log_decay[..., None] if core.log_decay.ndim == 3 else core.log_decay
    if isinstance(core, DiagonalDecay) and core.rate is not None:
        log_decay = log_decay * core.rate
    state = core.v.new_zeros(core.v.shape[0], heads, core.k.shape[-1], core.v.shape[-1])
    states, outputs = [], []
    for t in range(core.v.shape[1]):
        key = core.k[:, t].repeat_interleave(each, dim=1)[..., None] * core.write[:, t, :, None, None]
        state = state * log_decay[:, t, ..., None].exp() + key * core.v[:, t, :, None, :]
        state = state if edit is None else edit(t, state)
        states.append(state)
        outputs.append((core.q[:, t].repeat_interleave(each, dim=1)[..., None] * state).sum(2))
    return torch.stack(states), torch.stack(outputs, dim=1)


@pytest.mark.parametrize("case", CASES)
def test_every_hook_fires_in_order_with_the_shape_of_the_contract(case: str) -> None:
    heads, value, key, groups = SIZES[case]
    model = build(case)
    tokens, mask = batch_of_tokens()
    fired: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}

    def look(tensor: Tensor, hook: HookPoint) -> None:
        local = hook.name.removeprefix("blocks.0.mixer.")
        assert len(hook.axes) == tensor.ndim
        if local not in fired:
            fired.append(local)
        shapes[local] = tuple(tensor.shape)

    with hooked(model) as installed, ExitStack() as stack:
        for point in installed[0].points.values():
            stack.enter_context(point.listening(look))
        actual = run(model, tokens, mask)
        counts = {name: point.fired for name, point in installed[0].points.items()}
        assert installed[0].n_heads == heads and installed[0].d_value == value
    per_head = (BATCH, TIME, heads, value)
    decay = (BATCH, TIME, heads, key) if value == 1 else (BATCH, TIME, heads)
    assert shapes == {
        "hook_q": (BATCH, TIME, groups, key),
        "hook_k": (BATCH, TIME, groups, key),
        "hook_v": per_head,
        "hook_log_decay": decay,
        "hook_write": (BATCH, TIME, heads),
        "hook_pattern": (BATCH, heads, TIME, TIME),
        "hook_state": (BATCH, heads, key, value),
        "hook_z": per_head,
        "hook_gate": per_head,
        "hook_head_out": per_head,
    }
    assert fired == list(shapes) == list(counts)
    assert counts.pop("hook_state") == TIME
    assert set(counts.values()) == {1}
    torch.testing.assert_close(actual, run(model, tokens, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_states_read_are_those_of_the_recurrence_written_out(case: str) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    states, steps, forms = [], [], []

    def read(state: Tensor, hook: HookPoint) -> None:
        states.append(state.clone())
        steps.append(hook.step)

    with hooked(model) as installed, installed[1].recorded_by(forms.append):
        with installed[1].points["hook_state"].listening(read):
            run(model, tokens, mask)
        assert installed[1].points["hook_state"].step is None
    expected, outputs = manual_states(forms[0])
    assert steps == list(range(TIME))
    torch.testing.assert_close(torch.stack(states), expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(forms[0].z, outputs, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_an_edited_state_changes_this_and_later_outputs_as_the_recurrence_says(case: str) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    at = 11
    forms = []

    def edit(step: int | None, state: Tensor) -> Tensor:
        return state * -2.0 + 0.5 if step == at else state

    def hook_edit(state: Tensor, hook: HookPoint) -> Tensor | None:
        return edit(hook.step, state) if hook.step == at else None

    with hooked(model) as installed, installed[0].recorded_by(forms.append):
        before = run(model, tokens, mask)
        with installed[0].points["hook_state"].listening(hook_edit):
            after = run(model, tokens, mask)
    _, outputs = manual_states(forms[0], edit)
    torch.testing.assert_close(forms[1].z, outputs, atol=1e-12, rtol=1e-10)
    assert torch.equal(forms[1].z[:, :at], forms[0].z[:, :at]) or (
        (forms[1].z[:, :at] - forms[0].z[:, :at]).abs().max() < 1e-12
    )
    assert (forms[1].z[:, at:] - forms[0].z[:, at:]).abs().amax(dim=(0, 2, 3)).min() > 1e-6
    assert (after - before)[:, :at].abs().max() < 1e-6
    assert (after - before)[:, at:].abs().amax(dim=-1).min() > 1e-6


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("name", ["hook_q", "hook_k", "hook_v", "hook_log_decay", "hook_write", "hook_z", "hook_gate"])
@pytest.mark.parametrize("case", CASES)
def test_an_edit_is_what_runs_whether_in_place_or_returned(case: str, name: str, in_place: bool) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    at = 9
    forms = []

    def edit(tensor: Tensor, hook: HookPoint) -> Tensor | None:
        if in_place:
            tensor[:, at] *= 0.25
            return None
        changed = tensor.clone()
        changed[:, at] *= 0.25
        return changed

    with hooked(model) as installed, installed[1].recorded_by(forms.append):
        run(model, tokens, mask)
        with installed[1].points[name].listening(edit):
            run(model, tokens, mask)
    plain, edited = forms
    _, expected_z = manual_states(edited)
    if name == "hook_z":
        torch.testing.assert_close(edited.z[:, at], plain.z[:, at] * 0.25)
    else:
        torch.testing.assert_close(edited.z, expected_z, atol=1e-12, rtol=1e-10)
    same = (edited.outputs - plain.outputs).abs().amax(dim=(0, 2, 3))
    assert same[:at].max() < 1e-12
    assert same[at] > 1e-6
    if name in ("hook_q", "hook_z", "hook_gate"):
        assert same[at + 1 :].max() < 1e-12
    else:
        assert same[at + 1 :].min() > 1e-9


@pytest.mark.parametrize("case", ["mamba", "mamba2"])
def test_heads_zeroed_at_head_out_leave_the_output_projection(case: str) -> None:
    model = build(case)
    tokens, _ = batch_of_tokens()
    outputs: list[Tensor] = []

    def silence(tensor: Tensor, hook: HookPoint) -> Tensor:
        return torch.zeros_like(tensor)

    with hooked(model) as installed:
        handle = installed[0].module.register_forward_hook(lambda module, args, out: outputs.append(out))
        with installed[0].points["hook_head_out"].listening(silence):
            run(model, tokens)
        handle.remove()
    bias = installed[0].module.out_proj.bias
    assert outputs[0].abs().max() == (0 if bias is None else bias.abs().max())


def test_hooks_compute_gradients_backwards() -> None:
    model = build("mamba")
    tokens, _ = batch_of_tokens()
    seen = []
    with hooked(model) as installed:
        point = installed[0].points["hook_v"]
        with point.listening(lambda grad, hook: seen.append(grad), backward=True):
            model(tokens).logits.square().sum().backward()
    (grad,) = seen
    assert grad.shape == (BATCH, TIME, 24, 1) and grad.abs().max() > 0


def test_nothing_is_recorded_unless_asked() -> None:
    form = record(build("mamba"))
    assert form.outputs.shape == (BATCH, TIME, 24, 1)
    model = build("mamba")
    calls = []
    with hooked(model) as installed:
        run(model, batch_of_tokens()[0])
        with installed[0].recorded_by(calls.append):
            pass
        run(model, batch_of_tokens()[0])
    assert calls == []
