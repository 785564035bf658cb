"""What entries write: they add up to what the layer wrote, and their norms are those of the vectors themselves."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench.attention import ImplicitAttention
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.weights import head_weights

TEXT = "The state of the Union is strong because"
LAYER = 1


@pytest.fixture(scope="module", params=["attention", "mamba", "mamba2", "gated_delta", "retnet", "rwkv7"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    return wb.load(f"zoo:{request.param}")


def everything_written(attention: ImplicitAttention, head: int) -> torch.Tensor:
    time = attention.shape[2]
    query, key = (part.reshape(-1) for part in torch.meshgrid(torch.arange(time), torch.arange(time), indexing="ij"))
    return attention.written(query, key, head).unflatten(1, (time, time))


def test_what_the_entries_of_a_head_write_adds_up_to_its_output(model: HookedModel) -> None:
    attention = model.implicit_attention(TEXT, LAYER)
    form, head = attention.form, 2 % attention.units
    skip = 0 if form.skip is None else form.skip * form.core.v
    offset = 0 if form.offset is None else form.offset
    expected = (form.outputs - skip - offset)[:, :, head]
    torch.testing.assert_close(everything_written(attention, head).sum(2), expected, atol=2e-5, rtol=2e-4)


def test_what_the_entries_of_a_channel_of_the_whole_mixer_write_adds_up_to_its_output(model: HookedModel) -> None:
    attention = model.implicit_attention(TEXT, LAYER, scope="mixer")
    unit = 5 % attention.units
    expected = attention.recorded - attention.constant
    shown = expected[:, :, unit] if attention.unit == "head" else expected.flatten(2)[:, :, unit, None]
    torch.testing.assert_close(everything_written(attention, unit).sum(2), shown, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("through", [True, False], ids=["residual stream", "head output"])
def test_norms_are_those_of_the_vectors(model: HookedModel, through: bool) -> None:
    attention = model.implicit_attention(TEXT, LAYER)
    head = 1 % attention.units
    out = head_weights(model, LAYER).W_O
    assert out is not None
    vectors = everything_written(attention, head)
    expected = (vectors @ out[head] if through else vectors).norm(dim=-1)
    got = attention.written_norms(head, [2, 5], output=out[head] if through else None)
    torch.testing.assert_close(got, expected[:, [2, 5]], atol=1e-6, rtol=1e-3)


def test_queries_and_keys_that_do_not_pair_up_are_refused(model: HookedModel) -> None:
    with pytest.raises(InputError, match="2 queries and 1 keys"):
        model.implicit_attention(TEXT, LAYER).written([1, 2], [0], 0)
