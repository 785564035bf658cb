"""MiniMax's lightning attention, beyond the contract suite: its constant decays, its cache, its activation."""

from __future__ import annotations

import pytest
import torch

from tests.families.case import VOCABULARY, batch_of_tokens, build, hooked, record, stock
from tests.families.cases.minimax import CASES, SIZES, made
from tests.families.test_gated_delta import assert_generation_is_stocks, assert_half_precision_is_near_stocks
from workbench.attention import ImplicitAttention
from workbench.errors import UnsupportedFamilyError
from workbench.forms import ScalarDecay

CASE = CASES["minimax"]


def test_entries_decay_by_a_slope_that_layer_and_head_fix() -> None:
    """Slopes of ALiBi, ``2^(-8 h / H)``, that go down to zero over the layers."""
    form = record(CASE, torch.float64, padded=False)
    assert isinstance(form.core, ScalarDecay)
    heads, layers = SIZES["num_attention_heads"], SIZES["num_hidden_layers"]
    slope = torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)]).double()
    slope = slope * (1 - CASE.layer / (layers - 1 + 1e-5) + 1e-5)
    time = form.core.time
    lag = torch.arange(time)[:, None] - torch.arange(time)
    expected = torch.einsum("bthk,bshk->bhts", form.core.q, form.core.k)
    expected = (expected * (-slope[:, None, None] * lag).exp()).tril()
    dense = ImplicitAttention.from_form(form, scope="core").dense()
    torch.testing.assert_close(dense, expected, atol=1e-6, rtol=1e-6)  # transformers keeps slopes in float32


def test_long_inputs_cross_the_borders_of_blocks() -> None:
    model = build(CASE, torch.float64)
    tokens = torch.randint(0, VOCABULARY, (2, 70), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(tokens)
    mask[1, :40] = 0
    expected = stock(model, tokens, mask)
    with hooked(model):
        actual = stock(model, tokens, mask)
    torch.testing.assert_close(actual[mask.bool()], expected[mask.bool()], atol=1e-6, rtol=1e-6)


def test_the_module_returns_the_state_that_the_cache_holds() -> None:
    model = build(CASE)
    tokens, _ = batch_of_tokens()
    mixer = model.get_submodule(f"model.layers.{CASE.layer}.self_attn")
    returned: list[torch.Tensor] = []
    mixer.register_forward_hook(lambda module, args, output: returned.append(output[1]))
    _, theirs = stock(model, tokens, keep=True)
    with hooked(model):  # which looks at a run of its own
        _, ours = stock(model, tokens, keep=True)
    expected = theirs.get_linear_cache(CASE.layer)
    torch.testing.assert_close(ours.get_linear_cache(CASE.layer), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(returned[-1], expected, atol=1e-4, rtol=1e-4)


def test_an_activation_without_a_linear_form_is_refused_by_its_key() -> None:
    with pytest.raises(UnsupportedFamilyError, match="hidden_act 'GELUActivation'"), hooked(made(hidden_act="gelu")()):
        pass


def test_another_activation_with_a_linear_form_is_the_one_that_runs() -> None:
    model = build(type(CASE)(made(hidden_act="relu")), torch.float32)
    tokens, mask = batch_of_tokens()
    expected = stock(model, tokens, mask)
    with hooked(model):
        actual = stock(model, tokens, mask)
    torch.testing.assert_close(actual[mask.bool()], expected[mask.bool()], atol=1e-4, rtol=1e-4)


def test_the_models_own_generation_runs_through_the_adapters() -> None:
    assert_generation_is_stocks(CASE)


def test_half_precision_is_no_worse_than_stocks() -> None:
    assert_half_precision_is_near_stocks(CASE)
