"""Kimi Delta Attention in transformers, beyond the contract suite: a decay a key channel, the paper's transitions."""

from __future__ import annotations

import pytest
import torch

from tests.families.case import hooked, record
from tests.families.cases.kimi_linear import CASES, made
from tests.families.test_gated_delta import (
    assert_generation_is_stocks,
    assert_half_precision_is_near_stocks,
    assert_long_inputs_are_stocks,
    assert_states_are_those_in_stocks_cache,
    product_of_transitions,
)
from workbench.attention import ImplicitAttention
from workbench.errors import UnsupportedFamilyError
from workbench.forms import Delta

CASE = CASES["kimi_linear"]


def test_the_matrix_is_the_product_of_the_papers_transitions() -> None:
    form = record(CASE, torch.float64)
    assert isinstance(form.core, Delta)
    assert form.core.log_decay[1, -1].std(dim=-1).min() > 1e-3  # the channels of a head decay at rates of their own
    dense = ImplicitAttention.from_form(form, scope="core").dense()
    torch.testing.assert_close(dense, product_of_transitions(form.core), atol=1e-12, rtol=1e-10)


def test_states_are_those_in_stocks_cache() -> None:
    assert_states_are_those_in_stocks_cache(CASE)


def test_long_inputs_cross_the_borders_of_chunks() -> None:
    assert_long_inputs_are_stocks(CASE)


def test_the_models_own_generation_runs_through_the_adapters() -> None:
    assert_generation_is_stocks(CASE)


def test_half_precision_is_no_worse_than_stocks() -> None:
    assert_half_precision_is_near_stocks(CASE)


def test_an_activation_without_a_linear_form_is_refused_by_its_key() -> None:
    with pytest.raises(UnsupportedFamilyError, match="hidden_act 'gelu'"), hooked(made(hidden_act="gelu")()):
        pass
