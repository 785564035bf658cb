"""Small random softmax decoders of every architecture named in the tests of this room."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

VOCABULARY, LAYERS, HEADS, WIDTH, POSITIONS, WINDOW = 61, 3, 4, 32, 64, 4
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=POSITIONS,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config)


def _gpt_neox(parallel: bool) -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, use_parallel_residual=parallel))


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**GROUPED))


def _mistral() -> nn.Module:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=WINDOW))


def _gemma2() -> nn.Module:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
    model = Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=8, sliding_window=WINDOW, **caps))
    model.set_attn_implementation("eager")  # transformers 5.9 and 5.15 forget the soft cap in the fused kernel
    return model


def _gemma3() -> nn.Module:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=WINDOW, layer_types=kinds))


def _qwen2() -> nn.Module:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**GROUPED))


def _qwen3() -> nn.Module:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**GROUPED, head_dim=8))


def _opt(**options: Any) -> nn.Module:
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": WIDTH, **options}
    sizes.pop("intermediate_size")
    return OPTForCausalLM(OPTConfig(**sizes))


def _gpt_oss() -> nn.Module:
    from transformers import GptOssConfig, GptOssForCausalLM

    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": WINDOW, "head_dim": 8}
    return GptOssForCausalLM(GptOssConfig(**GROUPED, **experts))


def _zoo() -> nn.Module:
    return ZooModel(ZooConfig("attention", vocab_size=VOCABULARY, d_model=WIDTH, n_layers=LAYERS, d_mlp=48))


CASES: dict[str, Callable[[], nn.Module]] = {
    "gpt2": _gpt2,
    "gpt_neox parallel": lambda: _gpt_neox(True),
    "gpt_neox sequential": lambda: _gpt_neox(False),
    "llama": _llama,
    "mistral": _mistral,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "opt": _opt,
    "gpt_oss": _gpt_oss,
    "zoo attention": _zoo,
}
TRANSFORMERS = [case for case in CASES if case != "zoo attention"]
PARALLEL = {"gpt_neox parallel"}


def build(case: str, seed: int = 0) -> nn.Module:
    """A model with every parameter moved away from its initial value, biases, norm weights and sinks included."""
    torch.manual_seed(seed)
    model = CASES[case]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def eager(model: nn.Module) -> nn.Module:
    """A copy that computes attention patterns openly, as transformers does with output_attentions."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation("eager")  # type: ignore[operator]
    return twin


def batch(rows: int = 2, time: int = 11) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(5))


def left_padded(pads: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, mask and positions of a batch whose second row is padded on the left, as generation counts them."""
    tokens = batch()
    mask = torch.ones_like(tokens)
    mask[1, :pads] = 0
    tokens[1, :pads] = 0
    counted = (mask.cumsum(1) - 1).masked_fill(mask == 0, 0)
    return tokens, mask, counted
