"""TransformerLens' own models go in and compute the same, under our names; the oracle is the package itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from workbench.errors import FidelityError, UnsupportedFamilyError

VOCABULARY, TIME = 40, 11
SIZES: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 24,
    "d_head": 6,
    "n_heads": 4,
    "n_ctx": 32,
    "d_mlp": 20,
    "d_vocab": VOCABULARY,
    "act_fn": "gelu_new",
    "device": "cpu",
    "dtype": torch.float32,
}
LLAMA = {
    "act_fn": "silu",
    "normalization_type": "RMS",
    "final_rms": True,
    "gated_mlp": True,
    "positional_embedding_type": "rotary",
    "n_key_value_heads": 2,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"normalization_type": "LN"},
    "llama": LLAMA,
    "attention only, no norms": {"attn_only": True, "normalization_type": None},
    "gpt-j": {
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": True,
        "rotary_dim": 4,
        "parallel_attn_mlp": True,
    },
    "local attention": {"use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]},
    "unscaled, by layer": {"use_attn_scale": False, "scale_attn_by_inverse_layer_idx": True},
    "alibi and embedding norm": {"positional_embedding_type": "alibi", "post_embedding_ln": True},
    "gemma-2": LLAMA
    | {"use_normalization_before_and_after": True, "attn_scores_soft_cap": 2.0, "output_logits_soft_cap": 3.0},
    "query and key norms, sinks": LLAMA | {"use_qk_norm": True, "use_attention_sinks": True},
    "llama-3.1 frequencies": LLAMA | {"use_NTK_by_parts_rope": True, "NTK_original_ctx_len": 16},
    "yarn": LLAMA | {"use_yarn_rope": True, "yarn_factor": 4.0, "yarn_attention_factor": 1.2},
    "solu": {"act_fn": "solu_ln"},
}


def hooked_transformer(**options: Any) -> Any:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    torch.manual_seed(0)
    with pytest.warns(DeprecationWarning, match="HookedTransformer"):
        model = HookedTransformer(HookedTransformerConfig(**(SIZES | options)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def tokens() -> Tensor:
    return torch.randint(0, VOCABULARY, (2, TIME), generator=torch.Generator().manual_seed(1))


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_hooked_transformer_computes_the_same_under_our_names(name: str) -> None:
    theirs = hooked_transformer(**ARCHITECTURES[name])
    expected, known = theirs.run_with_cache(tokens())
    model = wb.load(theirs)
    logits, cache = model.run_with_cache(tokens(), lambda hook: "state" not in hook)
    assert relative(logits, expected) < 1e-5
    for layer in range(2):
        for hook in ("attn.hook_z", "attn.hook_v", "attn.hook_pattern", "hook_attn_out", "hook_resid_post"):
            where = f"blocks.{layer}.{hook}"
            assert relative(cache[where], known[where]) < 1e-5, where
        if not theirs.cfg.attn_only:
            assert relative(cache[f"blocks.{layer}.hook_mlp_out"], known[f"blocks.{layer}.hook_mlp_out"]) < 1e-5
        assert model.implicit_attention(tokens(), layer).check() < 1e-5


@torch.no_grad()
def test_folded_and_centred_weights_are_taken_as_they_are() -> None:
    theirs = hooked_transformer(normalization_type="LN")
    before = theirs(tokens())
    theirs.process_weights_()
    assert theirs.cfg.normalization_type == "LNPre"
    expected, known = theirs.run_with_cache(tokens())
    model = wb.load(theirs)
    logits, cache = model.run_with_cache(tokens())
    assert relative(logits, expected) < 1e-5
    assert relative(logits.log_softmax(-1), before.log_softmax(-1)) < 1e-4
    assert relative(cache["resid_post", 1], known["resid_post", 1]) < 1e-5
    assert float(model.attribute(tokens(), 3).check()) < 1e-4


@torch.no_grad()
def test_a_hooked_transformer_decodes_pads_and_is_edited_as_any_model_is() -> None:
    theirs = hooked_transformer(**LLAMA)
    model = wb.load(theirs)
    prompt = tokens()
    assert torch.equal(model.generate(prompt, 5), model.generate(prompt, 5, use_cache=False))
    mask = torch.ones_like(prompt)
    mask[1, :4] = 0
    padded = model(prompt, attention_mask=mask)
    assert relative(padded[1, 4:], model(prompt[1:, 4:])[0]) < 1e-5
    assert float(model.attribute(prompt, 3).check()) < 1e-4

    def silence(z: Tensor, hook: Any) -> Tensor:
        return torch.zeros_like(z)

    ours = model.run_with_hooks(prompt, fwd_hooks=[("blocks.1.attn.hook_z", silence)])
    assert relative(ours, theirs.run_with_hooks(prompt, fwd_hooks=[("blocks.1.attn.hook_z", silence)])) < 1e-5


def test_the_weights_are_the_sources_own() -> None:
    theirs = hooked_transformer()
    model = wb.load(theirs)
    with torch.no_grad():
        theirs.blocks[0].attn.W_V.mul_(2.0)
        theirs.unembed.b_U[3] += 1.0
        assert relative(model(tokens()), theirs(tokens())) < 1e-5
    assert {id(one) for one in model.wrapped.parameters()} == {id(one) for one in theirs.parameters()}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"positional_embedding_type": "shortformer"}, "positional_embedding_type"),
        ({"attention_dir": "bidirectional"}, "attention_dir"),
        ({"num_experts": 2, "experts_per_token": 1}, "num_experts"),
        ({"clip_qkv": 1.0}, "clip_qkv"),
        ({"use_dynamic_ntk_rope": True, **LLAMA}, "use_dynamic_ntk_rope"),
        ({"act_fn": "solu_ln", "gated_mlp": True}, "act_fn"),
    ],
)
def test_what_is_not_known_is_refused_by_its_configuration_key(options: dict[str, Any], key: str) -> None:
    with pytest.raises(UnsupportedFamilyError, match=rf"cfg\.{key} is "):
        wb.load(hooked_transformer(**options))


def test_a_source_whose_own_hooks_change_it_is_refused() -> None:
    theirs = hooked_transformer()
    theirs.add_perma_hook("blocks.0.hook_resid_post", lambda stream, hook: 2 * stream)
    with pytest.raises(FidelityError, match="hooks that are attached"):
        wb.load(theirs)


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=12, n_layer=2, n_head=3, n_positions=32))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 20, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=2, max_position_embeddings=64, **sizes)
    )


def mamba() -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=12, num_hidden_layers=2, state_size=4))


def bridge(stock: Any, name: str) -> Any:
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({f"<{number}>": number for number in range(VOCABULARY)}, unk_token="<0>")
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=Tokenizer(words), eos_token="<0>", pad_token="<0>")
    return TransformerBridge.boot_transformers(name, hf_model=stock, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("build", "name"), [(gpt2, "gpt2"), (llama, "SmolLM2-135M-Instruct"), (mamba, "state-spaces/mamba-130m-hf")]
)
@torch.no_grad()
def test_a_bridge_is_unwrapped_to_its_stock_module(build: Any, name: str) -> None:
    torch.manual_seed(0)
    stock = build().eval()
    untouched = copy.deepcopy(stock)(tokens()).logits
    theirs = bridge(stock, name)
    expected, known = theirs.run_with_cache(tokens())
    model = wb.load(theirs)
    assert type(model.wrapped) is type(stock)
    assert not any("transformer_lens" in type(part).__module__ for part in model.wrapped.modules())
    logits, cache = model.run_with_cache(tokens())
    assert relative(logits, expected) < 1e-5
    assert relative(logits, untouched) < 1e-5
    for layer in range(2):
        assert relative(cache["resid_post", layer], known[f"blocks.{layer}.hook_out"]) < 1e-5
    assert model.implicit_attention(tokens(), 1).check() < 1e-5
    assert relative(theirs(tokens()), expected) < 1e-6, "the bridge itself still runs"
    assert model.tokenizer is theirs.tokenizer


def test_a_bridge_with_processed_weights_is_refused() -> None:
    theirs = bridge(gpt2(), "gpt2")
    theirs.enable_compatibility_mode()
    with pytest.raises(UnsupportedFamilyError, match="has processed its weights"):
        wb.load(theirs)
