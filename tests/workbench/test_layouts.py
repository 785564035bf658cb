"""Finding the parts of a decoder by watching it run."""

import pytest
import torch
from torch import nn

import workbench as wb
from tests.workbench.decoder_cases import PARALLEL, build
from workbench.errors import LoadError, UnsupportedFamilyError
from workbench.families import families


@pytest.mark.parametrize("case", ["gpt2", "llama", "gpt_neox parallel", "gpt_neox sequential", "gemma2", "opt"])
def test_parts_are_found_while_every_matrix_that_writes_is_still_zero(case: str) -> None:
    stock = build(case)
    outputs = ("c_proj", "o_proj", "down_proj", "dense", "dense_4h_to_h", "out_proj", "fc2")
    with torch.no_grad():
        for name, module in stock.named_modules():
            if name.rsplit(".", 1)[-1] in outputs:
                for parameter in module.parameters():
                    parameter.zero_()
    for block in wb.load(stock).layout.blocks:
        assert block.additive and block.mlp_out is not None and block.mlp_pre is not None
        assert block.sequential == (case not in PARALLEL)


def test_the_residual_stream_may_be_of_any_size() -> None:
    stock = build("llama")
    with torch.no_grad():
        stock.get_input_embeddings().weight.mul_(1e4)  # type: ignore[operator, union-attr]
        for block in stock.model.layers:  # type: ignore[union-attr]
            block.mlp.down_proj.weight.mul_(1e3)
    assert all(block.additive and block.sequential for block in wb.load(stock).layout.blocks)


def test_half_precision_is_found_and_checked_too() -> None:
    model = wb.load(build("llama"), dtype="bfloat16")
    assert model.cfg.dtype == torch.bfloat16 and model.cfg.additive
    assert model(torch.tensor([[3, 4, 5]])).dtype == torch.bfloat16


class _Averaging(nn.Module):
    """A language model whose blocks mix tokens in a way nobody knows."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.linear(x.cumsum(1))

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.blocks = nn.ModuleList([self.Block()])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            input_ids = block(self.embed(input_ids))
        return input_ids


def test_an_unknown_mixer_is_refused_and_the_known_families_are_listed() -> None:
    with pytest.raises(UnsupportedFamilyError) as refusal:
        wb.load(_Averaging())
    assert "_Averaging is not supported" in str(refusal.value) and "(Block)" in str(refusal.value)
    assert all(family in str(refusal.value) for family in families())
    assert {"softmax", "mamba", "mamba2"} <= set(families())


def test_blocks_with_a_mixer_that_reads_no_tokens_are_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    crossed = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, add_cross_attention=True))
    with pytest.raises(UnsupportedFamilyError, match=r"Block 0 \(GPT2Block\) did not call its mixer GPT2Attention"):
        wb.load(crossed)


def test_a_model_without_a_language_modelling_head_is_refused() -> None:
    stock = build("llama")
    with pytest.raises(LoadError, match="LlamaModel returns no logits"):
        wb.load(stock.model)  # type: ignore[arg-type]
    with pytest.raises(LoadError, match="HookedModel already"):
        wb.load(wb.load(stock))
