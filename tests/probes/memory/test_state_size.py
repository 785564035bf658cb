"""Bytes from shapes against the tensors that a cache holds."""

import pytest
import torch

from tests.probes.memory.models import tiny
from workbench.errors import InputError
from workbench.probes.memory import cache_bytes, state_bytes, state_sizes


def test_keys_and_values_are_counted_to_the_byte() -> None:
    model = tiny("attention")
    tokens = torch.randint(40, (3, 17))
    cache = model.prefill(tokens).cache
    held = sum(layer[name].nbytes for layer in cache.layers for name in ("key", "value"))
    assert state_bytes(model, 17) * 3 == held
    assert cache_bytes(model, tokens) * 3 == held
    assert state_bytes(model, 34) == 2 * state_bytes(model, 17)


@pytest.mark.parametrize("mixer", ["mamba", "gated_delta", "retnet", "lstm"])
def test_a_recurrent_state_has_the_size_of_the_state_in_the_cache(mixer: str) -> None:
    model = tiny(mixer)
    cache = model.prefill(torch.randint(40, (1, 9))).cache
    table = state_sizes(model, [9, 900])
    for row, layer in zip(table.to_dict("records"), cache.layers, strict=True):
        assert row["bytes_9"] == row["bytes_900"] == row["fixed_bytes"] == layer["state"].nbytes
        assert row["heads"] * row["key"] * row["value"] == layer["state"].numel()
    everything = sum(tensor.nbytes for layer in cache.layers for tensor in layer.values())
    assert cache_bytes(model, torch.zeros(1, 9, dtype=torch.long)) == everything


def test_grouped_keys_and_values_are_counted_once_a_group() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    import workbench as wb

    config = LlamaConfig(
        vocab_size=30,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = wb.load(LlamaForCausalLM(config), check=False)
    cache = model.prefill(torch.randint(30, (1, 11))).cache
    assert state_bytes(model, 11) == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert state_sizes(model)["heads"].tolist() == [2, 2]


def test_a_length_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 token"):
        state_sizes(tiny("attention"), [0])
