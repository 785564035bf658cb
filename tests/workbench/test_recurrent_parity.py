"""The hooked mixers compute what the stock ones do: logits, padding, caches, weights, and getting out of the way."""

import pytest
import torch

from tests.workbench.recurrent_cases import (
    CASES,
    PADS,
    STOCK,
    adapters,
    batch_of_tokens,
    blocks,
    build,
    hooked,
    limited_mamba2,
    run,
    stock_in_float64,
)
from workbench.errors import UnsupportedFamilyError


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_stock_models_in_float32_left_padding_included(case: str) -> None:
    model = build(case)
    tokens, mask = batch_of_tokens()
    expected = run(model, tokens, mask)
    with hooked(model):
        actual = run(model, tokens, mask)
    seen = mask.bool()
    torch.testing.assert_close(actual[seen], expected[seen], atol=1e-5, rtol=1e-5)
    # The mask must matter, or this test says nothing about padding.
    assert (run(model, tokens)[seen] - expected[seen]).abs().max() > 1e-3


@pytest.mark.parametrize("case", [*STOCK, limited_mamba2])
def test_logits_equal_the_stock_models_in_float64(case: str) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    with stock_in_float64():
        expected = run(model, tokens, mask)
    with hooked(model):
        actual = run(model, tokens, mask)
        with stock_in_float64():
            around = run(model, tokens, mask)
    # Outside the mixers the model is stock, and casts to float32 in its norms.
    torch.testing.assert_close(around, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_half_precision_stays_close_to_stock(case: str) -> None:
    model = build(case, torch.bfloat16)
    tokens, mask = batch_of_tokens()
    expected = run(model, tokens, mask)
    with hooked(model):
        actual = run(model, tokens, mask)
    assert actual.dtype == expected.dtype
    difference = (actual - expected)[mask.bool()].double().norm() / expected[mask.bool()].double().norm()
    assert difference < 3e-2


@pytest.mark.parametrize("case", CASES)
def test_decoding_from_a_cache_equals_one_pass(case: str) -> None:
    model = build(case, torch.float64)
    tokens, _ = batch_of_tokens()
    with hooked(model), stock_in_float64():
        whole = run(model, tokens)
        parts, cache = [], None
        # A prompt shorter than the convolution, one token, several tokens after a filled cache, then one at a time.
        for part in tokens.split([2, 1, 5, *[1] * 11], dim=1):
            logits, cache = run(model, part, cache=cache, keep=True)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_a_stock_cache_goes_on_under_hooks_and_back(case: str) -> None:
    model = build(case)
    tokens, mask = batch_of_tokens()
    prompt, rest = tokens[:, :-4], tokens[:, -4:]

    def decode(ours: list[bool]) -> list[torch.Tensor]:
        logits, cache = run(model, prompt, mask[:, :-4], keep=True)
        steps = [logits[:, -1]]
        for step, hook in enumerate(ours):
            part = rest[:, step : step + 1]
            if hook:
                with hooked(model):
                    logits, cache = run(model, part, cache=cache, keep=True)
            else:
                logits, cache = run(model, part, cache=cache, keep=True)
            steps.append(logits[:, -1])
        return steps

    stock, mixed = decode([False] * 4), decode([True, False, True, False])
    for expected, actual in zip(stock, mixed, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_padding_changes_nothing_for_the_tokens_after_it(case: str) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    with hooked(model), stock_in_float64():
        padded, cache = run(model, tokens[:, :-1], mask[:, :-1], keep=True)
        step, _ = run(model, tokens[:, -1:], mask, cache=cache, keep=True)
        alone = run(model, tokens[1:, PADS:])
    torch.testing.assert_close(torch.cat([padded, step], dim=1)[1:, PADS:], alone, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_weights_are_read_when_the_mixer_runs(case: str) -> None:
    model = build(case)
    tokens, _ = batch_of_tokens()
    with hooked(model):
        before = run(model, tokens)
        mixer = blocks(model)[0].mixer
        mixer.A_log.data += 1.0
        mixer.conv1d.weight = torch.nn.Parameter(mixer.conv1d.weight * 1.5)
        after = run(model, tokens)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, run(model, tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_undoing_the_installation_leaves_no_trace(case: str) -> None:
    model = build(case)
    before = [set(vars(block.mixer)) for block in blocks(model)]
    with hooked(model):
        assert all("forward" in vars(block.mixer) for block in blocks(model))
    assert [set(vars(block.mixer)) for block in blocks(model)] == before


def test_a_dispatched_module_keeps_its_device_hooks_outermost() -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    class Counts(ModelHook):
        calls = 0

        def pre_forward(self, module, *args, **kwargs):  # type: ignore[no-untyped-def]
            self.calls += 1
            return args, kwargs

    model = build("mamba")
    counts = Counts()
    add_hook_to_module(blocks(model)[0].mixer, counts)
    tokens, _ = batch_of_tokens()
    expected = run(model, tokens)
    seen = []
    with hooked(model) as installed, installed[0].points["hook_z"].listening(lambda z, hook: seen.append(z)):
        actual = run(model, tokens)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    assert counts.calls == 2 and len(seen) == 1
    run(model, tokens)
    assert counts.calls == 3 and len(seen) == 1


@pytest.mark.parametrize("case", CASES)
def test_gradients_reach_every_parameter_as_in_the_stock_mixer(case: str) -> None:
    model = build(case)
    tokens, mask = batch_of_tokens()

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(tokens, attention_mask=mask).logits[mask.bool()].square().mean().backward()
        return [parameter.grad.clone() for parameter in blocks(model)[0].mixer.parameters()]

    expected = gradients()
    with hooked(model):
        actual = gradients()
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_an_activation_without_a_linear_form_is_refused() -> None:
    model = build("mamba")
    blocks(model)[0].mixer.activation = "gelu_new"
    with pytest.raises(UnsupportedFamilyError, match="'gelu_new' has no exact linear form"):
        adapters(model)
