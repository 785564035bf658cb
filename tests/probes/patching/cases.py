"""Small models whose causal effects can be written down, and pairs of runs to patch between."""

import functools

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import workbench as wb
from workbench.model import HookedModel
from workbench.tasks import Task, repeated_random_tokens


@functools.cache
def zoo(name: str) -> HookedModel:
    return wb.load(f"zoo:{name}")


def repeats(model: HookedModel, block: int = 5, batch: int = 3) -> tuple[Task, Tensor]:
    """A task, and its tokens with another first half, from which nothing can be copied."""
    task = repeated_random_tokens(model, block, batch=batch, seed=0)
    source = task.tokens.clone()
    source[:, :block] = repeated_random_tokens(model, block, batch=batch, seed=1).tokens[:, :block]
    return task, source


def small_gpt2(layers: int = 2) -> GPT2LMHeadModel:
    torch.manual_seed(5)
    sizes = {"n_embd": 16, "n_head": 4, "n_positions": 16, "initializer_range": 0.3}
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_layer=layers, **sizes)).double().eval()


def linear_after_attention() -> HookedModel:
    """One layer whose logits are linear in its head outputs: no MLP to speak of and no final norm."""
    stock = small_gpt2(layers=1)
    with torch.no_grad():
        stock.transformer.h[0].mlp.c_proj.weight.zero_()
    stock.transformer.ln_f = nn.Identity()
    return HookedModel(stock)


def pick(position: int, token: int, other: int):  # type: ignore[no-untyped-def]
    """The difference of two logits at a position, as a metric."""
    return lambda logits: logits[:, position, token] - logits[:, position, other]
