"""TransformerLens 3.9 around the raced models, with no access to a hub.

What that took:

* `HookedTransformer.from_pretrained` takes only names of its own list, and SmolLM2 is not on it. So the configuration
  is written out here, and the weights go through TransformerLens' own converter.
* `TransformerBridge.boot_transformers` takes any model object, but insists on a tokenizer: without one it fetches the
  one of the name it was given, and one that has a beginning-of-sequence token must come from a folder it can be read
  from again.
* Weights are left as they are (no folding, no centring) in both, as in the stock model and in ours.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from benchmarks.models import GPT2_VOCABULARY, MAMBA_VOCABULARY


def hooked_llama(stock: Any) -> Any:
    """A HookedTransformer with the weights of a transformers Llama."""
    from transformer_lens.pretrained.weight_conversions.llama import convert_llama_weights

    config = stock.config
    return _hooked(
        stock,
        convert_llama_weights,
        d_model=config.hidden_size,
        d_head=config.head_dim,
        n_heads=config.num_attention_heads,
        n_key_value_heads=config.num_key_value_heads,
        d_mlp=config.intermediate_size,
        n_layers=config.num_hidden_layers,
        n_ctx=2048,
        eps=config.rms_norm_eps,
        d_vocab=config.vocab_size,
        act_fn=config.hidden_act,
        normalization_type="RMS",
        final_rms=True,
        gated_mlp=True,
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=config.head_dim,
        rotary_base=config.rope_parameters["rope_theta"],
        original_architecture="LlamaForCausalLM",
    )


def hooked_gpt2(stock: Any) -> Any:
    """A HookedTransformer with the weights of a transformers GPT-2."""
    from transformer_lens.pretrained.weight_conversions.gpt2 import convert_gpt2_weights

    config = stock.config
    return _hooked(
        stock,
        convert_gpt2_weights,
        d_model=config.n_embd,
        d_head=config.n_embd // config.n_head,
        n_heads=config.n_head,
        d_mlp=4 * config.n_embd,
        n_layers=config.n_layer,
        n_ctx=config.n_positions,
        eps=config.layer_norm_epsilon,
        d_vocab=config.vocab_size,
        act_fn=config.activation_function,
        normalization_type="LN",
        original_architecture="GPT2LMHeadModel",
    )


def bridged_llama(stock: Any, folder: Path) -> Any:
    """A TransformerBridge over a transformers Llama (eager attention, which it needs), with the folder's tokenizer."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return TransformerBridge.boot_transformers("SmolLM2-135M-Instruct", hf_model=stock, tokenizer=tokenizer)


def bridged_gpt2(stock: Any) -> Any:
    """A TransformerBridge over a transformers GPT-2, with a tokenizer of numbered words."""
    return _bridged(stock, "gpt2", GPT2_VOCABULARY)


def bridged_mamba(stock: Any, eager_scan: bool = False) -> Any:
    """A TransformerBridge over a transformers Mamba or Mamba-2, with a tokenizer of numbered words.

    Args:
        eager_scan: let every layer run TransformerLens' own loop over time, which its hooks on states and writes need.
    """
    names = {"mamba": "state-spaces/mamba-130m-hf", "mamba2": "AntonV/mamba2-130m-hf"}
    bridge = _bridged(stock, names[stock.config.model_type], MAMBA_VOCABULARY)
    for block in bridge.blocks:
        block.mixer.eager_scan = eager_scan
    return bridge


def _bridged(stock: Any, name: str, vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast  # its constructor is not typed

    words = models.WordLevel({f"<{number}>": number for number in range(vocabulary)}, unk_token="<0>")
    tokenizer = fast(tokenizer_object=Tokenizer(words), eos_token="<0>", pad_token="<0>")
    return TransformerBridge.boot_transformers(name, hf_model=stock, tokenizer=tokenizer)


def _hooked(stock: Any, convert: Any, **fields: Any) -> Any:
    import torch
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(dtype=torch.float32, device="cpu", **fields)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is what most notebooks run, all the same
        model = HookedTransformer(config)
    # Not strict: masks and rotary tables are buffers that the model has made for itself, and a GPT-2 has no bias on its
    # logits, which starts as zeros. What else might be missing would show in the error against the oracle.
    _, unexpected = model.load_state_dict(convert(stock, config), strict=False)
    if unexpected:
        raise RuntimeError(f"The converted weights do not fit: {unexpected}.")
    return model
