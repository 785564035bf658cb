"""Task vectors: exact sums and differences of checkpoints, put in and taken out again bit for bit."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import workbench as wb
from workbench.errors import InputError, LoadError
from workbench.interventions import WeightDelta
from workbench.model import HookedModel

TOKENS = torch.tensor([[1, 5, 9, 2]])


def stock(seed: int, width: int = 16) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=width, n_layer=2, n_head=2)).eval()


@torch.no_grad()
def test_base_plus_delta_is_the_tuned_model_and_afterwards_the_base_bit_for_bit() -> None:
    base, tuned = stock(0), stock(1)
    delta = WeightDelta.between(base, tuned)
    expected = tuned(TOKENS).logits
    lm = HookedModel(base)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    plain = lm(TOKENS)
    with delta.applied(lm):
        torch.testing.assert_close(lm(TOKENS), expected, rtol=1e-5, atol=1e-5)
    assert all(weight.equal(before[name]) for name, weight in base.state_dict().items())
    assert lm(TOKENS).equal(plain)


@torch.no_grad()
def test_tied_weights_are_moved_once() -> None:
    base, tuned = stock(0), stock(1)
    assert base.lm_head.weight is base.transformer.wte.weight
    for pair in ((base, tuned), (base.state_dict(), tuned.state_dict())):
        delta = WeightDelta.between(*pair)
        assert sum("lm_head" in name or "wte" in name for name in delta.values) == 1
    with WeightDelta.between(base, tuned).applied(base):
        torch.testing.assert_close(base.lm_head.weight, tuned.lm_head.weight)


@torch.no_grad()
def test_arithmetic_of_deltas_is_that_of_their_numbers() -> None:
    base, one, two = stock(0), stock(1), stock(2)
    name = "transformer.h.1.mlp.c_fc.weight"
    w0, w1, w2 = (model.get_parameter(name).clone() for model in (base, one, two))
    first, second = WeightDelta.between(base, one), WeightDelta.between(base, two)
    for delta, expected in (
        (-first, w0 - (w1 - w0)),
        (0.5 * first + second, w0 + 0.5 * (w1 - w0) + (w2 - w0)),
        (first - second, w0 + w1 - w2),
        (first.only("h.0.") + second.only("h.1."), w2),
    ):
        with delta.applied(base):
            torch.testing.assert_close(base.get_parameter(name), expected)
    with first.applied(base, scale=2.0):
        torch.testing.assert_close(base.get_parameter(name), 2 * w1 - w0)
    assert first.norm == pytest.approx(
        sum(float((one.get_parameter(n) - p).double().square().sum()) for n, p in base.named_parameters()) ** 0.5
    )


@torch.no_grad()
def test_weights_come_back_when_the_block_fails() -> None:
    base = stock(0)
    before = base.transformer.wte.weight.clone()
    delta = WeightDelta.between(base, stock(1))
    with pytest.raises(IndexError), delta.applied(base):  # a token outside the vocabulary
        base(torch.tensor([[99]]))
    assert base.transformer.wte.weight.equal(before)


@torch.no_grad()
def test_half_precision_weights_come_back_bit_for_bit() -> None:
    base = stock(0).to(torch.bfloat16)
    before = {name: weight.clone() for name, weight in base.named_parameters()}
    with (3.7 * WeightDelta.between(stock(0), stock(1))).applied(base):
        assert not base.transformer.wte.weight.equal(before["transformer.wte.weight"])
    assert all(weight.equal(before[name]) for name, weight in base.named_parameters())


@torch.no_grad()
def test_a_recurrent_models_delta_acts_through_its_kernels() -> None:
    lm = wb.load("zoo:mamba")
    tokens = torch.arange(6)[None]
    delta = WeightDelta({name: torch.full_like(p, 0.01) for name, p in lm.wrapped.named_parameters()})
    plain = lm(tokens)
    with delta.applied(lm):
        assert (lm(tokens) - plain).abs().max() > 1e-2
    assert lm(tokens).equal(plain)


def test_a_delta_comes_back_from_its_file(tmp_path: Path) -> None:
    delta = WeightDelta.between(stock(0), stock(1))
    delta.save(tmp_path / "delta.safetensors")
    loaded = WeightDelta.load(tmp_path / "delta.safetensors")
    assert loaded.values.keys() == delta.values.keys()
    assert all(value.equal(delta.values[name]) for name, value in loaded.values.items())
    (tmp_path / "other").write_bytes(b"no tensors")
    with pytest.raises(LoadError, match="is no saved weight delta"):
        WeightDelta.load(tmp_path / "other")


def test_checkpoints_that_do_not_fit_are_refused_with_a_sentence() -> None:
    base = stock(0)
    with pytest.raises(InputError, match=r"transformer.wte.weight is \[11, 16\] in the first and \[11, 32\]"):
        WeightDelta.between(base, stock(0, width=32))
    with pytest.raises(InputError, match="only the first has"):
        WeightDelta.between(base, {})
    with (
        pytest.raises(InputError, match=r"is \[11, 32\] in the model and \[11, 16\] in the delta"),
        WeightDelta.between(base, stock(1)).applied(stock(0, width=32)),
    ):
        pass
    with (
        pytest.raises(InputError, match="has no parameter nowhere"),
        WeightDelta({"nowhere": torch.ones(1)}).applied(base),
    ):
        pass
    with pytest.raises(InputError, match="in its name"):
        WeightDelta.between(base, stock(1)).only("attention_of_another_model")
