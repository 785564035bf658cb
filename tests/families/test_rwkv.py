"""RWKV-4 of transformers where the contract suite cannot go: its caches, which stock itself confuses in batches."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.families.case import all_in_float64, batch_of_tokens, build, hooked, stock
from tests.families.cases.rwkv import CASES
from workbench.errors import UnsupportedFamilyError

RESCALED = CASES["rwkv, rescaled"]


def in_parts(model: nn.Module, tokens: Tensor, sizes: list[int], ours: list[bool]) -> Tensor:
    """Logits of one sequence, fed in parts, hooked or not in turns."""
    parts, cache = [], None
    for i, part in enumerate(tokens.split(sizes, dim=1)):
        if ours[i % len(ours)]:
            with hooked(model):
                logits, cache = stock(model, part, cache=cache, keep=True)
        else:
            logits, cache = stock(model, part, cache=cache, keep=True)
        parts.append(logits)
    return torch.cat(parts, dim=1)


def test_one_sequence_goes_on_by_single_tokens_as_in_stock_and_in_turns_with_it() -> None:
    tokens, sizes = batch_of_tokens()[0][:1], [1, 1, 5, *[1] * 12]
    expected = in_parts(build(RESCALED), tokens, sizes, [False])
    for ours in ([True], [True, False], [False, True]):
        torch.testing.assert_close(in_parts(build(RESCALED), tokens, sizes, ours), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("row", "sizes"), [(slice(1), [1, 1, 5, *[1] * 12]), (slice(2), [9, 4, 2, 4])])
def test_parts_equal_the_whole_in_float64_where_stock_keeps_float32(row: slice, sizes: list[int]) -> None:
    tokens, model = batch_of_tokens()[0][row], build(RESCALED, torch.float64)
    whole = stock(model, tokens)
    torch.testing.assert_close(in_parts(model, tokens, sizes, [True]), whole, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(in_parts(model, tokens, sizes, [True, False]), whole, atol=1e-4, rtol=1e-4)


def test_a_batch_that_goes_on_by_one_token_is_refused_where_stock_mixes_it_up() -> None:
    tokens, model = batch_of_tokens()[0], build(RESCALED)
    _, cache = stock(model, tokens[:, :5], keep=True)
    confused, _ = stock(model, tokens[:, 5:6], cache=cache, keep=True)
    assert confused.shape[1] == 2  # as many time steps as sequences: when upstream mends it, the refusal can go
    with hooked(model):
        _, cache = stock(model, tokens[:, :5], keep=True)
        with pytest.raises(UnsupportedFamilyError, match="one sequence at a time"):
            stock(model, tokens[:, 5:6], cache=cache, keep=True)


def test_a_state_that_has_no_room_is_refused() -> None:
    model = build(CASES["rwkv, wide"])
    with hooked(model), pytest.raises(UnsupportedFamilyError, match="use_cache=False"):
        stock(model, batch_of_tokens()[0], keep=True)


def test_a_gradient_passes_although_a_state_is_written() -> None:
    model, tokens = build(RESCALED, torch.float64), batch_of_tokens()[0]
    with hooked(model), all_in_float64(torch.float64):
        found = []
        for keep in (False, True):
            model.zero_grad()
            model(tokens, use_cache=keep).logits.square().mean().backward()
            found.append([parameter.grad.clone() for parameter in model.parameters()])
    for with_state, without in zip(*found, strict=True):
        torch.testing.assert_close(with_state, without, atol=1e-12, rtol=1e-9)


def test_states_are_the_numerator_that_stock_keeps() -> None:
    model, tokens = build(RESCALED, torch.float64), batch_of_tokens()[0][:1]
    with torch.no_grad(), all_in_float64(torch.float64):
        kept = model(tokens, use_cache=True).state
        with hooked(model) as wrapped:
            shown: list[Tensor] = []
            with wrapped.adapters[1].points["hook_state"].listening(lambda state, hook: shown.append(state.clone())):
                ours = model(tokens, use_cache=True).state
    for place in range(5):
        torch.testing.assert_close(ours[place].double(), kept[place].double(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(shown[-1][..., 0, 0].float(), kept[2][:, :, 1].float(), atol=1e-6, rtol=1e-5)


def test_a_state_is_saved_loaded_changed_and_gone_on_from(tmp_path: Path) -> None:
    model, tokens = build(RESCALED), batch_of_tokens()[0][:1]
    with hooked(model) as wrapped:
        whole = wrapped(tokens)[:, -1]
        wrapped.prefill(tokens[:, :9]).save(tmp_path / "memory")
        memory = wrapped.load_state(tmp_path / "memory")
        for _ in range(2):  # going on leaves the memory as it was
            torch.testing.assert_close(wrapped.prefill(tokens[:, 9:], state=memory).logits, whole, atol=1e-5, rtol=1e-4)
        other = memory.with_recurrent(1, memory.recurrent[1] * -2.0)
        assert (wrapped.prefill(tokens[:, 9:], state=other).logits - whole).abs().max() > 1e-4
