"""What every family owes: the stock model's numbers, exact matrices in both scopes, states, gradients, odd inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.families.case import PADS, Case, all_in_float64, batch_of_tokens, build, hooked, record, recurrent, stock
from tests.families.cases import every_case
from workbench.attention import ImplicitAttention
from workbench.hooks import HookPoint

EXACT = {torch.float32: 1e-5, torch.float64: 1e-10}
EVERY = [pytest.param(case, id=name) for name, case in every_case().items()]
PADDED = [pytest.param(case, id=name) for name, case in every_case().items() if case.padding]
CACHED = [pytest.param(case, id=name) for name, case in every_case().items() if case.cache]
DECODED = [
    pytest.param(case, padded, id=f"{name}{', padded' * padded}")
    for name, case in every_case().items()
    if case.cache
    for padded in ([False, True] if case.padding else [False])
]


def tokens_and_mask(case: Case) -> tuple[Tensor, Tensor]:
    """The batch; a mask of ones where the stock class ignores it."""
    tokens, mask = batch_of_tokens()
    return tokens, mask if case.padding else torch.ones_like(mask)


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("case", EVERY)
def test_logits_are_the_stock_models(case: Case, dtype: torch.dtype) -> None:
    model = build(case, dtype)
    tokens, mask = tokens_and_mask(case)
    expected = stock(model, tokens, mask)
    with hooked(model):
        actual = stock(model, tokens, mask)
    limit = 1e-4 if dtype == torch.float32 else case.float64
    seen = mask.bool()
    torch.testing.assert_close(actual[seen], expected[seen], atol=limit, rtol=limit)


@pytest.mark.parametrize("case", PADDED)
def test_padding_changes_nothing_for_the_tokens_after_it(case: Case) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    with hooked(model):
        padded = stock(model, tokens, mask)
        alone = stock(model, tokens[1:, PADS:])
        ignored = stock(model, tokens)
    torch.testing.assert_close(padded[1:, PADS:], alone, atol=1e-9, rtol=1e-9)
    assert (ignored[1, PADS:] - alone).abs().max() > 1e-3  # else this would say nothing about padding


@pytest.mark.parametrize(("case", "padded"), DECODED)
def test_decoding_from_a_cache_equals_one_pass(case: Case, padded: bool) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    mask = mask if padded else torch.ones_like(mask)
    # All pads are in the prompt, as in generation. Without pads, a prompt shorter than a convolution comes first.
    first = [8] if padded else [2, 1, 5] if case.chunks else [2, 1, 1, 1, 1, 1, 1]
    middle = [1, 4] if case.chunks else [1] * 5
    sizes = [*first, *middle, *[1] * (tokens.shape[1] - sum(first) - sum(middle))]
    with hooked(model):
        whole = stock(model, tokens, mask if padded else None)
        parts, cache, seen = [], None, 0
        for part in tokens.split(sizes, dim=1):
            seen += part.shape[1]
            logits, cache = stock(model, part, mask[:, :seen] if padded else None, cache=cache, keep=True)
            parts.append(logits)
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], whole[real], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", CACHED)
def test_a_stock_cache_goes_on_under_hooks_and_back(case: Case) -> None:
    tokens, mask = tokens_and_mask(case)
    prompt, rest = tokens[:, :-4], tokens[:, -4:]

    def decode(ours: list[bool]) -> Tensor:
        model = build(case)

        def step(part: Tensor, seen: int, cache: Any, hook: bool) -> tuple[Tensor, Any]:
            shown = mask[:, :seen] if cache is None or case.mask_in_decoding else None
            if not hook:
                return stock(model, part, shown, cache=cache, keep=True)
            with hooked(model):
                return stock(model, part, shown, cache=cache, keep=True)

        logits, cache = step(prompt, prompt.shape[1], None, ours[0])
        steps = [logits[:, -1]]
        for i, hook in enumerate(ours[1:]):
            logits, cache = step(rest[:, i : i + 1], prompt.shape[1] + i + 1, cache, hook)
            steps.append(logits[:, -1])
        return torch.stack(steps)

    expected = decode([False] * 5)
    for turns in ([False, True, False, True, False], [True, False, True, False, True]):
        torch.testing.assert_close(decode(turns), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scope", ["core", "mixer"])
@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("case", EVERY)
def test_the_matrix_times_the_values_is_what_the_layer_wrote(case: Case, dtype: torch.dtype, scope: str) -> None:
    for padded in [False, True] if case.padding else [False]:
        attention = ImplicitAttention.from_form(record(case, dtype, padded), scope=scope)
        assert attention.check(full=True) < EXACT[dtype]


@pytest.mark.parametrize("scope", ["core", "mixer"])
@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("case", CACHED)
def test_what_a_cache_left_is_part_of_the_constant(case: Case, dtype: torch.dtype, scope: str) -> None:
    form = record(case, dtype, padded=case.padding, split=9)
    attention = ImplicitAttention.from_form(form, scope=scope)
    assert attention.check(full=True) < EXACT[dtype]
    assert attention.constant.abs().max() > 1e-3


@pytest.mark.parametrize("case", EVERY)
def test_an_impulse_in_the_values_is_answered_by_a_column(case: Case) -> None:
    """The gates are computed before `hook_v` fires, so an impulse there meets exactly the gates of the record."""
    model = build(case, torch.float64)
    tokens, mask = tokens_and_mask(case)
    with hooked(model) as wrapped:
        adapter = recurrent(wrapped, case)
        outputs: list[Tensor] = []

        def run(at: int | None) -> Tensor:
            def impulse(v: Tensor, hook: HookPoint) -> Tensor:
                bump = torch.zeros_like(v)
                if at is not None:
                    bump[:, at] = 1.0
                return v + bump

            shown = adapter.points["hook_z"].listening(lambda z, hook: outputs.append(z))
            with adapter.points["hook_v"].listening(impulse), shown:
                stock(model, tokens, mask)
            return outputs.pop()

        with all_in_float64(torch.float64):
            dense = wrapped.implicit_attention(tokens, case.layer, attention_mask=mask).dense()
        rest = run(None)
        for at in (0, 7, tokens.shape[1] - 1):
            response = run(at) - rest
            column = dense[..., at].transpose(1, 2)[..., None].expand_as(response)
            torch.testing.assert_close(response, column, atol=1e-11, rtol=1e-8)


@pytest.mark.parametrize("case", CACHED)
def test_states_are_the_same_read_in_one_pass_and_while_decoding(case: Case) -> None:
    model = build(case, torch.float64)
    tokens, mask = tokens_and_mask(case)
    with hooked(model) as wrapped:
        states: list[Tensor] = []
        with recurrent(wrapped, case).points["hook_state"].listening(lambda s, hook: states.append(s.clone())):
            stock(model, tokens, mask)
            prefill = torch.stack(states)
            states.clear()
            _, cache = stock(model, tokens[:, :8], mask[:, :8], keep=True)
            for i in range(8, tokens.shape[1]):
                _, cache = stock(model, tokens[:, i : i + 1], mask[:, : i + 1], cache=cache, keep=True)
    assert prefill.shape[0] == tokens.shape[1]
    torch.testing.assert_close(torch.stack(states), prefill, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", EVERY)
def test_an_edited_state_changes_this_step_and_all_later_ones(case: Case) -> None:
    model = build(case, torch.float64)
    tokens, mask = tokens_and_mask(case)
    at = 11

    def edit(state: Tensor, hook: HookPoint) -> Tensor | None:
        return state * -2.0 + 0.5 if hook.step == at else None

    with hooked(model) as wrapped:
        outputs: list[Tensor] = []
        with recurrent(wrapped, case).points["hook_z"].listening(lambda z, hook: outputs.append(z.clone())):
            stock(model, tokens, mask)
            with recurrent(wrapped, case).points["hook_state"].listening(edit):
                stock(model, tokens, mask)
    before, after = outputs
    changed = (after - before).abs().amax(dim=(0, 2, 3))
    exclusive = "hook_diagonal" in recurrent_points(case)
    first = at + 1 if exclusive else at  # an exclusive reader sees the state of a step only in the next one
    assert changed[:first].max() < 1e-12
    assert changed[first] > 1e-6


def recurrent_points(case: Case) -> list[str]:
    with hooked(build(case)) as wrapped:
        return list(recurrent(wrapped, case).points)


@pytest.mark.parametrize("case", EVERY)
def test_every_hook_fires_with_the_axes_it_declares_and_an_edit_is_what_runs(case: Case) -> None:
    model = build(case, torch.float64)
    tokens, mask = tokens_and_mask(case)
    with hooked(model) as wrapped:
        adapter = recurrent(wrapped, case)
        plain = stock(model, tokens, mask)
        for local, point in adapter.points.items():
            shapes: list[torch.Size] = []

            def double(tensor: Tensor, hook: HookPoint, shapes: list[torch.Size] = shapes) -> Tensor:
                shapes.append(tensor.shape)
                return tensor * 2.0

            with point.listening(double):
                edited = stock(model, tokens, mask)
            assert shapes, f"{local} never fired"
            assert all(len(shape) == len(point.axes) for shape in shapes), local
            assert shapes[0][0] == tokens.shape[0], local
            assert (edited - plain).abs().max() > 1e-7, f"an edit of {local} changes nothing"
        torch.testing.assert_close(stock(model, tokens, mask), plain, atol=0, rtol=0)


@pytest.mark.parametrize("case", EVERY)
def test_gradients_reach_every_parameter_as_in_stock(case: Case) -> None:
    tokens, mask = tokens_and_mask(case)
    seen = mask.bool()

    def gradients(ours: bool) -> list[Tensor | None]:
        model = build(case, torch.float64)

        def backward() -> None:
            with all_in_float64(torch.float64):
                model(tokens, attention_mask=mask, use_cache=False).logits[seen].square().mean().backward()

        if ours:
            with hooked(model):
                backward()
        else:
            backward()
        return [parameter.grad for parameter in model.parameters()]

    reached = 0
    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-5)
            reached += bool(ours.abs().max() > 0)
    assert reached > 5


@pytest.mark.parametrize("case", EVERY)
def test_a_single_token_is_a_sequence(case: Case) -> None:
    model = build(case, torch.float64)
    tokens, _ = batch_of_tokens()
    expected = stock(model, tokens[:, :1])
    with hooked(model) as wrapped:
        torch.testing.assert_close(stock(model, tokens[:, :1]), expected, atol=case.float64, rtol=case.float64)
        attention = wrapped.implicit_attention(tokens[:, :1], case.layer)
        assert attention.dense().shape[-2:] == (1, 1)
        assert attention.check(full=True) < 1e-10


@pytest.mark.parametrize("case", PADDED)
def test_a_row_of_padding_leaves_the_other_rows_alone(case: Case) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    mask[1] = 0
    with hooked(model):
        together = stock(model, tokens, mask)
        alone = stock(model, tokens[:1])
    torch.testing.assert_close(together[:1], alone, atol=1e-9, rtol=1e-9)
    assert together[0].isfinite().all()
