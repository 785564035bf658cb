"""States at chosen steps, of every family: what is edited or read there, and what is not run one step at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.families.case import TIME, Case, all_in_float64, build, hooked
from tests.families.cases import every_case
from tests.families.test_contract import tokens_and_mask
from workbench import at_steps
from workbench.errors import HookNeverFiredError, InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel

EVERY = [pytest.param(case, id=name) for name, case in every_case().items()]
CACHED = [pytest.param(case, id=name) for name, case in every_case().items() if case.cache]
NAMED = {name: case for name, case in every_case().items() if name in ("mamba2", "zoo rwkv6", "zoo lstm")}


def double(state: Tensor, hook: HookPoint) -> Tensor:
    return state * -2.0 + 0.5


def only_at(*steps: int):  # type: ignore[no-untyped-def]
    """The same edit by a listener of every step, which acts at some of them."""
    return lambda state, hook: double(state, hook) if hook.step in steps else None


def hook_of(case: Case) -> str:
    return f"blocks.{case.layer}.mixer.hook_state"


def edited(model: HookedModel, case: Case, hook: object) -> tuple[Tensor, Tensor]:
    """Logits and states of a run with a hook on the states of the case's layer."""
    tokens, mask = tokens_and_mask(case)
    states: list[Tensor] = []
    hooks = [(hook_of(case), hook), ("mixer.hook_z", lambda z, hook: states.append(z.flatten().clone()))]
    with torch.no_grad(), all_in_float64(torch.float64):
        logits = model.run_with_hooks(tokens, attention_mask=mask, fwd_hooks=hooks)
    return logits, torch.cat(states)


@pytest.mark.parametrize("case", EVERY)
def test_an_edit_at_chosen_steps_is_that_of_a_listener_of_every_step(case: Case) -> None:
    with hooked(build(case, torch.float64)) as model:
        tokens, mask = tokens_and_mask(case)
        for steps in ([11], [0, 7, 8, TIME - 1]):
            expected, every = edited(model, case, only_at(*steps))
            logits, z = edited(model, case, at_steps(double, steps))
            torch.testing.assert_close(logits, expected, atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(z, every, atol=1e-10, rtol=1e-10)
        with torch.no_grad(), all_in_float64(torch.float64):
            plain = model(tokens, attention_mask=mask)
        changed = (edited(model, case, at_steps(double, 9))[0] - plain).abs().amax((0, 2))
        assert changed[:9].max() < 1e-10
        assert changed[9:].max() > 1e-6


@pytest.mark.parametrize("case", CACHED)
def test_steps_count_from_the_start_of_the_prompt_while_decoding(case: Case) -> None:
    tokens, mask = tokens_and_mask(case)
    seen: list[int | None] = []

    def look(state: Tensor, hook: HookPoint) -> Tensor:
        seen.append(hook.step)
        return double(state, hook)

    def decoded(hook: object) -> list[Tensor]:
        with model.hooks([(hook_of(case), hook)]):  # type: ignore[list-item]
            state = model.prefill(tokens[:, :8], mask[:, :8])
            logits = [state.logits]
            for i in range(8, 14):
                state = model.prefill(tokens[:, i : i + 1], state=state)
                logits.append(state.logits)
        return logits

    with hooked(build(case, torch.float64)) as model, all_in_float64(torch.float64):
        expected = decoded(only_at(3, 10))
        model(tokens.flip(1))  # another text in between
        got = decoded(at_steps(look, [3, 10]))
    assert seen == [3, 10]
    torch.testing.assert_close(torch.stack(got), torch.stack(expected), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("case", EVERY)
def test_a_cache_of_chosen_steps_holds_what_one_of_every_step_holds_there(case: Case) -> None:
    tokens, mask = tokens_and_mask(case)
    names = [hook_of(case), "hook_resid_post"]
    with hooked(build(case, torch.float64)) as model, torch.no_grad(), all_in_float64(torch.float64):
        _, every = model.run_with_cache(tokens, names, attention_mask=mask)
        _, chosen = model.run_with_cache(tokens, names, attention_mask=mask, steps=[3, 18])
        assert chosen[hook_of(case)].shape[1] == 2
        torch.testing.assert_close(chosen[hook_of(case)], every[hook_of(case)][:, [3, 18]], atol=1e-10, rtol=1e-10)
        assert chosen.keys() == every.keys()
        states = model.recurrent_states(tokens, case.layer, positions=[18, -16], attention_mask=mask)
        torch.testing.assert_close(states, every[hook_of(case)][:, [18, 3]], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("case", NAMED.values(), ids=NAMED)
def test_a_step_that_the_run_does_not_come_to_is_an_error_in_one_sentence(case: Case) -> None:
    tokens, _ = tokens_and_mask(case)
    with hooked(build(case)) as model, torch.no_grad():
        with pytest.raises(HookNeverFiredError, match=rf"hook_state has no step 500: the run had {TIME} steps"):
            model.run_with_hooks(tokens, fwd_hooks=[(hook_of(case), at_steps(double, [3, 500]))])
        with pytest.raises(HookNeverFiredError, match=f"no step {TIME}: the run had {TIME} steps"):
            model.run_with_cache(tokens, hook_of(case), steps=TIME)
        with pytest.raises(HookNeverFiredError, match="did not fire"):
            model.run_with_hooks(tokens, fwd_hooks=[(hook_of(case), at_steps(double, 3))], stop_at_layer=0)
        too_late = model.hooks([(hook_of(case), at_steps(double, 12))])
        with pytest.raises(HookNeverFiredError, match="no step 12: the run had 12 steps"), too_late:
            model.generate(tokens[:1, :9], max_new_tokens=4, stop_at_eos=False)
        with model.hooks([(hook_of(case), at_steps(double, 11))]):
            model.generate(tokens[:1, :9], max_new_tokens=4, stop_at_eos=False)
        assert not model.points[hook_of(case)].active


def test_bad_steps_are_refused() -> None:
    case = NAMED["mamba2"]
    for wrong in (-1, [], [2, -1], [True]):
        with pytest.raises(InputError, match="Steps are whole numbers"):
            at_steps(double, wrong)
    with pytest.raises(InputError, match="takes a function"):
        at_steps("hook", 3)
    tokens, _ = tokens_and_mask(case)
    with hooked(build(case)) as model:
        with pytest.raises(InputError, match="fires once a run"):
            model.run_with_hooks(tokens, fwd_hooks=[("mixer.hook_z", at_steps(double, 3))])
        with pytest.raises(InputError, match="names_filter asks for none"):
            model.run_with_cache(tokens, "mixer.hook_z", steps=[3])
        assert not any(point.active for point in model.points.values())


@pytest.mark.parametrize("case", [NAMED["mamba2"], NAMED["zoo rwkv6"]], ids=["mamba2", "rwkv6"])
def test_steps_that_nobody_asked_for_are_not_taken_one_by_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.kernels.diagonal_decay import reference as diagonal
    from workbench.kernels.scalar_decay import reference as scalar

    taken: list[int] = []
    for module in (scalar, diagonal):

        def counted(form, *rest, plain=module.forward):  # type: ignore[no-untyped-def]
            taken.append(form.time)
            return plain(form, *rest)

        monkeypatch.setattr(module, "forward", counted)
    tokens, _ = tokens_and_mask(case)
    with hooked(build(case)) as model, torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=[(hook_of(case), at_steps(double, [3, 12]))])
    assert taken == [1, 1]


def test_cells_run_fused_between_chosen_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.cells import LSTMCell

    spans: list[int] = []
    fused = LSTMCell.fused

    def counted(self, inputs, hidden, state):  # type: ignore[no-untyped-def]
        spans.append(inputs.shape[1])
        return fused(self, inputs, hidden, state)

    monkeypatch.setattr(LSTMCell, "fused", counted)
    case = every_case()["zoo lstm"]
    tokens, _ = tokens_and_mask(case)
    with hooked(build(case)) as model, torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=[(hook_of(case), at_steps(double, [3, 12]))])
    assert spans[-3:] == [3, 8, 6]


def test_gradients_of_a_chosen_step_reach_a_backward_hook_there_alone() -> None:
    case = NAMED["mamba2"]
    tokens, _ = tokens_and_mask(case)
    seen: list[Tensor] = []
    with hooked(build(case, torch.float64)) as model:
        kept: list[Tensor] = []
        every = [(hook_of(case), lambda grad, hook: kept.append(grad))]
        model.run_with_hooks(tokens, bwd_hooks=every).square().sum().backward()
        chosen = [(hook_of(case), at_steps(lambda grad, hook: seen.append(grad), 5))]
        model.run_with_hooks(tokens, bwd_hooks=chosen).square().sum().backward()
    (gradient,) = seen
    torch.testing.assert_close(gradient, kept[::-1][5], atol=1e-10, rtol=1e-10)
