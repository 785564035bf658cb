"""Direct logit attribution: parts that add up to the stream and to the logit, in every family, and heads that are told
apart by what the model itself does without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import workbench as wb
from tests.families.case import batch_of_tokens, build, hooked
from tests.families.cases import every_case
from tests.workbench import decoder_cases
from workbench.direct_logits.norms import LinearNorm
from workbench.errors import HookNameError, InputError
from workbench.model import HookedModel

ZOO = [
    "attention",
    "gated_delta",
    "gla",
    "gru",
    "lstm",
    "mamba",
    "mamba2",
    "mlstm",
    "retnet",
    "rg_lru",
    "rwkv4",
    "rwkv7",
]
# Softmax in all its ways to write, and mixers behind multipliers, norms, second mixers and none.
FAMILIES = [
    "falcon_h1",
    "granite_hybrid",
    "jamba",
    "nemotron_h",
    "recurrent_gemma",
    "rwkv",
    "xlstm",
    "zamba",
    "torch_rnn",
]
CASES = {name: case for name, case in every_case().items() if name.split(" ")[0] in FAMILIES}


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1e-30))


def check_everything_adds_up(model: HookedModel, tokens: Tensor) -> None:
    """Sums of stacks are streams, sums of attributions are logits, heads and a remainder are what a mixer wrote."""
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    last = model.cfg.n_layers
    for layer in (0, 1, last):
        stream = cache["resid_post", last - 1] if layer == last else cache["resid_pre", layer]
        assert relative(cache.decompose_resid(layer).sum(0), stream) < 1e-5
    stack, labels = cache.get_full_resid_decomposition(return_labels=True, expand_neurons=False)
    assert len(labels) == len(stack) == len(set(labels))
    assert relative(stack.sum(0), cache["resid_post", -1]) < 1e-5
    answers = tokens.roll(-1, dims=1)
    attributed = cache.logit_attrs(stack, answers).sum(0) + cache.logit_bias(answers)
    names = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    caps = [getattr(getattr(model.wrapped, "config", None), name, None) for name in names]
    limit = next((float(one) for one in caps if one is not None), None)
    told = logits if limit is None else limit * torch.atanh(logits.double() / limit).to(logits.dtype)
    assert relative(attributed, told.gather(-1, answers[..., None])[..., 0]) < 2e-5


@pytest.mark.parametrize("name", ZOO)
def test_the_parts_of_every_zoo_member_add_up(name: str) -> None:
    model = wb.load(f"zoo:{name}")
    tokens = torch.randint(0, 2048, (2, 7), generator=torch.Generator().manual_seed(0))
    check_everything_adds_up(model, tokens)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    for layer in range(4):  # heads explain all that a mixer writes but the bias of its output matrix
        upto, before = cache.stack_head_results(layer + 1), cache.stack_head_results(layer)
        out = getattr(model.mixers[layer].module, "o_proj", getattr(model.mixers[layer].module, "out_proj", None))
        bias = 0 if out is None or out.bias is None else out.bias  # type: ignore[union-attr]
        assert relative(upto[len(before) :].sum(0) + bias, cache[f"blocks.{layer}.mixer.hook_out"]) < 1e-5


@pytest.mark.parametrize("name", decoder_cases.CASES)
def test_the_parts_of_softmax_decoders_add_up(name: str) -> None:
    check_everything_adds_up(HookedModel(decoder_cases.build(name)), decoder_cases.batch())


@pytest.mark.parametrize("name", CASES)
def test_the_parts_of_hybrids_add_up(name: str) -> None:
    with hooked(build(CASES[name])) as model:
        check_everything_adds_up(model, batch_of_tokens()[0])


@pytest.mark.parametrize("name", ["mamba2", "attention", "gla"])
def test_a_heads_result_is_what_the_mixer_writes_less_without_it(name: str) -> None:
    model = wb.load(f"zoo:{name}")
    tokens = torch.randint(0, 2048, (1, 6), generator=torch.Generator().manual_seed(3))

    def without(head: int) -> Any:
        def cut(out: Tensor, hook: Any) -> Tensor:
            out = out.clone()
            out[:, :, head] = 0
            return out

        return cut

    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        cache.compute_head_results()
        results = cache["result", 2]
        assert results.shape[2] == model.mixers[2].n_heads > 1
        for head in range(results.shape[2]):
            hooks = [(model.points["blocks.2.mixer.hook_head_out"].name, without(head))]
            with model.hooks(hooks):
                _, changed = model.run_with_cache(tokens, "blocks.2.mixer.hook_out")
            whole = cache["blocks.2.mixer.hook_out"]
            missing = whole - changed["blocks.2.mixer.hook_out"]
            assert (results[:, :, head] - missing).abs().max() < 1e-6 * whole.abs().max()


def test_a_norm_behind_the_heads_counts_with_the_scale_that_it_had() -> None:
    model = HookedModel(decoder_cases.build("gemma2"))
    with torch.no_grad():
        _, cache = model.run_with_cache(decoder_cases.batch())
    block = model.wrapped.model.layers[1]  # type: ignore[union-attr, index]
    norm, heads = block.post_attention_layernorm, cache["z", 1]
    projected = torch.einsum("bthv,dhv->bthd", heads, block.self_attn.o_proj.weight.unflatten(1, (4, -1)))
    scale = (projected.sum(2).square().mean(-1, keepdim=True) + norm.eps).sqrt()
    expected = projected / scale[:, :, None] * (1 + norm.weight)
    cache.compute_head_results()
    torch.testing.assert_close(cache["result", 1], expected, atol=1e-5, rtol=1e-4)


def test_neurons_are_the_rows_of_the_output_matrix_times_their_activation() -> None:
    model = HookedModel(decoder_cases.build("gpt2"))
    with torch.no_grad():
        _, cache = model.run_with_cache(decoder_cases.batch())
    mlp = model.wrapped.transformer.h[1].mlp  # type: ignore[union-attr, index]
    one = cache.get_neuron_results(1, neuron_slice=7, pos_slice=-1)
    torch.testing.assert_close(one, cache["post", 1][:, -1, 7, None] * mlp.c_proj.weight[7], atol=1e-6, rtol=1e-5)
    stack, labels = cache.get_full_resid_decomposition(pos_slice=-1, return_labels=True)
    assert labels[12:14] == ["L0N0", "L0N1"] and labels[-3:] == ["embed", "pos_embed", "bias"]
    biases = sum(block.attn.c_proj.bias + block.mlp.c_proj.bias for block in model.wrapped.transformer.h)  # type: ignore[union-attr]
    torch.testing.assert_close(stack[-1], biases.expand(2, -1), atol=1e-5, rtol=1e-4)


def test_a_second_mixer_and_a_group_of_channels_have_labels_of_their_own() -> None:
    case = next(case for name, case in every_case().items() if name.startswith("falcon_h1"))
    with hooked(build(case)) as model, torch.no_grad():
        _, cache = model.run_with_cache(batch_of_tokens()[0])
        labels = cache.stack_head_results(1, return_labels=True)[1]
        assert "L0H0" in labels and "L0.mixer1H1" in labels
        assert {"0_mixer_out", "0_mixer1_out"} <= set(cache.decompose_resid(return_labels=True)[1])
    model = wb.load("zoo:mamba")
    _, cache = model.run_with_cache(torch.arange(3)[None])
    assert cache.stack_head_results(1, return_labels=True, group=64)[1] == [
        f"L0H{64 * i}:{64 * i + 64}" for i in range(4)
    ]
    with pytest.raises(InputError, match="Groups of 3 do not divide the 256 heads"):
        cache.stack_head_results(group=3)


def test_what_the_first_heads_and_a_layers_mlp_read_is_complete_too() -> None:
    _, cache = HookedModel(decoder_cases.build("gpt2")).run_with_cache(decoder_cases.batch())
    rest, labels = cache.stack_head_results(0, return_labels=True, incl_remainder=True)
    assert labels == ["remainder"]
    torch.testing.assert_close(rest[0], cache["resid_pre", 0])
    stack, labels = cache.get_full_resid_decomposition(0, mlp_input=True, expand_neurons=False, return_labels=True)
    assert "L0H0" in labels and "L1H0" not in labels and "0_mlp_out" not in labels
    assert relative(stack.sum(0), cache["resid_mid", 0]) < 1e-5
    # Of this layer's heads nothing is left to the bias but the output matrix's own, the same at every place.
    torch.testing.assert_close(stack[-1], stack[-1][:1, :1].expand_as(stack[-1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("centred", [True, False])
def test_a_linear_norm_is_the_norm_with_its_scale_taken_apart(size: int, centred: bool) -> None:
    norm: nn.Module = nn.LayerNorm(size) if centred else nn.RMSNorm(size, eps=1e-5)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(size))
    x = torch.randn(3, size)
    linear = LinearNorm.of(norm, x)
    assert linear.centred is centred
    torch.testing.assert_close(linear.weight, norm.weight, atol=1e-5, rtol=1e-5)
    moved = x - x.mean(-1, keepdim=True) if centred else x
    scale = 1 / (moved.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(linear.inverse_scale(x, norm(x)), scale, atol=1e-5, rtol=1e-4)


def test_slices_choose_positions_and_sequences_as_transformer_lens_does() -> None:
    model = HookedModel(decoder_cases.build("llama"))
    with torch.no_grad():
        logits, cache = model.run_with_cache(decoder_cases.batch(3))
    whole = cache.logit_attrs(cache.decompose_resid(), 5)
    some = cache.logit_attrs(cache.decompose_resid(pos_slice=(2, 9, 3)), 5, pos_slice=(2, 9, 3))
    torch.testing.assert_close(some, whole[:, :, 2:9:3])
    stack = cache.decompose_resid(pos_slice=[0, -2])
    torch.testing.assert_close(cache.logit_attrs(stack, 5, pos_slice=[0, -2]), whole[:, :, [0, -2]])
    last = cache.logit_attrs(cache.decompose_resid(pos_slice=-1), 5, pos_slice=-1, batch_slice=(1, 3))
    torch.testing.assert_close(last, whole[:, 1:3, -1])
    each = cache.logit_attrs(cache.decompose_resid(), torch.tensor([5, 6, 7]), torch.tensor([1, 2, 3]))
    total = logits[torch.arange(3), :, torch.tensor([5, 6, 7])] - logits[torch.arange(3), :, torch.tensor([1, 2, 3])]
    assert relative(each.sum(0), total) < 1e-5
    alone = model.run_with_cache(decoder_cases.batch(1), remove_batch_dim=True)[1]
    single = alone.logit_attrs(alone.decompose_resid(), 5, has_batch_dim=False)
    assert relative(single.sum(0), model(decoder_cases.batch(1))[0, :, 5]) < 1e-5


def test_the_cache_asks_nothing_of_whoever_listens_and_leaves_no_hook_behind() -> None:
    model = HookedModel(decoder_cases.build("llama"))
    _, cache = model.run_with_cache(decoder_cases.batch())
    seen: list[str] = []

    def note(tensor: Tensor, hook: Any) -> Tensor:
        seen.append(hook.name)
        return tensor * 0

    with model.hooks([("blocks.0.mixer.hook_z", note)]):
        attributed = cache.logit_attrs(cache.decompose_resid(pos_slice=-1), 3, pos_slice=-1).sum(0)
        assert seen == []
        model(decoder_cases.batch())
    assert seen == ["blocks.0.mixer.hook_z"]
    assert relative(attributed, model(decoder_cases.batch())[:, -1, 3]) < 1e-5
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.wrapped.modules())


def test_an_edited_weight_counts() -> None:
    model = HookedModel(decoder_cases.build("llama"))
    _, cache = model.run_with_cache(decoder_cases.batch())
    before = cache.logit_attrs(cache.decompose_resid(), 3)
    with torch.no_grad():
        model.wrapped.lm_head.weight.mul_(2)  # type: ignore[union-attr]
    torch.testing.assert_close(cache.logit_attrs(cache.decompose_resid(), 3), 2 * before)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda cache: cache.decompose_resid(9), "Layer 9 is out of range"),
        (lambda cache: cache.decompose_resid(mode="heads"), "no mode 'heads'"),
        (lambda cache: cache.logit_attrs(cache.decompose_resid(), 100), "numbers from 0 to 60"),
        (lambda cache: cache.logit_attrs(cache.decompose_resid(), torch.tensor([1, 2]), 3), "must be alike"),
        (lambda cache: cache.decompose_resid(pos_slice=99), "99 is outside the 11 entries"),
        (lambda cache: cache.get_neuron_results(7), "Layer 7 is out of range"),
    ],
)
def test_bad_input_is_one_sentence(ask: Any, words: str) -> None:
    _, cache = HookedModel(decoder_cases.build("llama")).run_with_cache(decoder_cases.batch())
    with pytest.raises(InputError, match=words):
        ask(cache)


def test_what_was_not_recorded_is_named() -> None:
    model = HookedModel(decoder_cases.build("llama"))
    _, cache = model.run_with_cache(decoder_cases.batch(), "hook_resid_post")
    with pytest.raises(HookNameError, match="hook_embed was not recorded"):
        cache.decompose_resid()


def test_logits_of_the_whole_vocabulary_are_those_of_its_tokens() -> None:
    model = HookedModel(decoder_cases.build("llama"))
    with torch.no_grad():
        logits, cache = model.run_with_cache(decoder_cases.batch(2))
    stack = cache.decompose_resid(pos_slice=slice(3, 5))
    every = cache.vocabulary_attrs(stack, pos_slice=slice(3, 5))
    torch.testing.assert_close(every[..., 7], cache.logit_attrs(stack, 7, pos_slice=slice(3, 5)))
    assert relative(every.sum(0) + cache.logit_bias(torch.arange(logits.shape[-1])), logits[:, 3:5]) < 1e-5
