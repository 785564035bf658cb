"""Blocks with several mixers, with none, and with factors on what they add to the residual stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.families.case import Case, batch_of_tokens, build, hooked, stock
from tests.families.cases import every_case
from workbench.errors import InputError, UnsupportedFamilyError
from workbench.families.base import register, unregister
from workbench.families.mamba import JambaAdapter
from workbench.hooks import HookPoint

CASES = every_case()
HYBRIDS = [
    "jamba",
    "zamba",
    "zamba2",
    "bamba",
    "falcon_h1",
    "falcon_h1 with a norm before the gate",
    "nemotron_h",
    "granite_hybrid",
    "granite_hybrid without experts",
]


def _inputs() -> tuple[Tensor, Tensor]:
    return batch_of_tokens()


@pytest.mark.parametrize("name", HYBRIDS)
def test_every_block_writes_the_sum_of_what_its_hooks_show(name: str) -> None:
    tokens, mask = _inputs()
    with hooked(build(CASES[name])) as model:
        assert model.cfg.additive
        _, cache = model.run_with_cache(tokens, attention_mask=mask)
    for block in model.layout.blocks:
        stream = cache["resid_pre", block.layer]
        for index, mixer in enumerate(block.mixers):
            out = cache[f"blocks.{block.layer}.mixer{index or ''}.hook_out"]
            stream = stream + out if mixer.writes else stream
        if block.sequential:
            torch.testing.assert_close(cache["resid_mid", block.layer], stream)
        if block.mlp_out is not None:
            stream = stream + cache["mlp_out", block.layer]
        torch.testing.assert_close(cache["resid_post", block.layer], stream)


@pytest.mark.parametrize("name", HYBRIDS)
def test_attention_layers_are_as_exact_as_recurrent_ones(name: str) -> None:
    tokens, mask = _inputs()
    checked = 0
    with hooked(build(CASES[name], torch.float64)) as model, torch.no_grad():
        for block in model.layout.blocks:
            for index, mixer in enumerate(block.mixers):
                if not mixer.adapter.recurrent:
                    found = model.implicit_attention(tokens, block.layer, attention_mask=mask, mixer=index)
                    assert found.check(full=True) < 1e-10
                    dense = found.dense()
                    assert dense.shape[1] == mixer.adapter.n_heads
                    torch.testing.assert_close(dense[0].sum(-1), torch.ones_like(dense[0, ..., 0]))
                    checked += 1
    assert checked


def test_mixers_side_by_side_are_told_apart_by_number_and_by_name() -> None:
    tokens, _ = _inputs()
    with hooked(build(CASES["falcon_h1"])) as model:
        assert model.cfg.families == ["falcon_h1+softmax"] * 2 and model.cfg.family == "hybrid"
        assert model.cfg.n_heads == 6 and model.cfg.n_ctx is not None
        assert [model.mixer(1, index).family for index in (0, 1)] == ["falcon_h1", "softmax"]
        assert [len(model.implicit_attention(tokens, 1, mixer=index).dense()[0]) for index in (0, 1)] == [6, 3]
        every = list(model.implicit_attentions(tokens, mixer=1))
        assert [(layer, len(attention.dense()[0])) for layer, attention in every] == [(0, 3), (1, 3)]
        _, cache = model.run_with_cache(tokens)
        assert cache["blocks.1.mixer.hook_z"].shape[2:] == (6, 4)
        assert cache["blocks.1.attn.hook_z"] is cache["blocks.1.mixer1.hook_z"]
        assert cache["blocks.1.mixer1.hook_z"].shape[2:] == (3, 4)
        assert cache["blocks.1.hook_attn_out"] is cache["blocks.1.mixer1.hook_out"]
        assert model.points["blocks.1.mixer1.hook_head_out"].name == "blocks.1.mixer1.hook_z"
        with pytest.raises(InputError, match=r"Mixer 2 is out of range: layer 1 of .* has 2 \(falcon_h1\+softmax\)"):
            model.implicit_attention(tokens, 1, mixer=2)


@pytest.mark.parametrize(("name", "multiplier"), [("falcon_h1", 0.8), ("granite_hybrid", 0.7), ("zamba2", 1.0)])
def test_what_a_silenced_head_wrote_is_gone_from_the_stream(name: str, multiplier: float) -> None:
    """The mixer's output changes by the head's columns of the output projection, times the residual multiplier."""
    tokens, _ = _inputs()
    with hooked(build(CASES[name], torch.float64)) as model:
        block = model.layout.blocks[-1]
        mixer = block.mixers[0]

        def silence(z: Tensor, hook: HookPoint) -> Tensor:
            return z.index_fill(2, torch.tensor([1]), 0.0)

        point = f"blocks.{block.layer}.mixer.hook_head_out"
        _, before = model.run_with_cache(tokens, [point, "mixer.hook_out"])
        shown: list[Tensor] = []
        model.run_with_hooks(
            tokens,
            fwd_hooks=[(point, silence), (f"blocks.{block.layer}.mixer.hook_out", lambda t, hook: shown.append(t))],
        )
        weight = mixer.adapter.module.get_submodule("out_proj").get_parameter("weight")
        columns = weight.unflatten(1, (mixer.adapter.n_heads, -1))[:, 1]
        lost = multiplier * before[point][:, :, 1] @ columns.T
        torch.testing.assert_close(before[f"blocks.{block.layer}.mixer.hook_out"] - shown[0], lost)


@pytest.mark.parametrize("name", ["falcon_h1", "granite_hybrid"])
def test_an_edit_of_a_multiplied_or_summed_output_is_what_the_stream_gets(name: str) -> None:
    tokens, _ = _inputs()
    with hooked(build(CASES[name], torch.float64)) as model:
        for tail in ("mixer.hook_out", "hook_mlp_out"):
            point = f"blocks.1.{tail}"
            bump = torch.randn(2, 1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
            kept = ["blocks.1.hook_resid_pre", "mixer.hook_out", "mixer1.hook_out", "hook_mlp_out", "hook_resid_post"]
            kept = [part for part in kept if part != "mixer1.hook_out" or name == "falcon_h1"]
            with model.hooks(fwd_hooks=[(point, lambda t, hook, bump=bump: t + bump)]):
                _, cache = model.run_with_cache(tokens, kept)
            stream = cache["resid_pre", 1]
            for part in kept[1:-1]:
                stream = stream + cache[f"blocks.1.{part}"]
            torch.testing.assert_close(cache["resid_post", 1], stream)


@pytest.mark.parametrize("name", ["falcon_h1", "granite_hybrid"])
def test_the_stream_between_the_mixers_and_the_mlp_can_be_replaced(name: str) -> None:
    tokens, _ = _inputs()
    with hooked(build(CASES[name], torch.float64)) as model:
        _, cache = model.run_with_cache(tokens)
        other = torch.randn_like(cache["resid_mid", 0])
        shown: list[Tensor] = []
        hooks = [
            ("blocks.0.hook_resid_mid", lambda t, hook: other),
            ("blocks.0.hook_mlp_out", lambda t, hook: shown.append(t)),
            ("blocks.0.hook_resid_post", lambda t, hook: shown.append(t)),
        ]
        model.run_with_hooks(tokens, fwd_hooks=hooks)
        block: Any = model.layout.blocks[0].block
        if name == "falcon_h1":
            mlp = block.feed_forward(block.pre_ff_layernorm(other))
        else:
            normed = block.post_attention_layernorm(other)
            mlp = 0.7 * (block.block_sparse_moe(normed) + block.shared_mlp(normed))
    torch.testing.assert_close(shown[0], mlp, atol=1e-6, rtol=1e-6)  # stock's norms round to float32
    torch.testing.assert_close(shown[1], other + shown[0])


def test_a_block_that_is_an_mlp_alone_has_no_mixer_and_says_so() -> None:
    tokens, _ = _inputs()
    with hooked(build(CASES["nemotron_h"])) as model:
        assert model.cfg.families == ["none", "mamba2", "softmax", "none", "mamba2"]
        assert model.cfg.n_heads == [0, 6, 2, 0, 6] and model.cfg.family == "hybrid"
        names = [name for name in model.hook_names if name.startswith("blocks.0.")]
        assert [name.removeprefix("blocks.0.") for name in names] == [
            "hook_resid_pre",
            "mlp.hook_pre",
            "mlp.hook_post",
            "hook_mlp_out",
            "hook_resid_post",
        ]
        with pytest.raises(InputError, match=r"Layer 3 \(NemotronHBlock\) has no token mixer"):
            model.implicit_attention(tokens, 3)
        assert [layer for layer, _ in model.implicit_attentions(tokens)] == [1, 2, 4]


def test_a_block_that_mixes_tokens_in_an_unknown_way_is_not_taken_for_an_mlp() -> None:
    case: Case = CASES["jamba"]
    model = build(case)
    unregister(JambaAdapter)
    try:
        with pytest.raises(
            UnsupportedFamilyError, match=r"block 0 \(JambaMambaDecoderLayer\) mixes tokens with no known"
        ):
            wb.HookedModel(model)
    finally:
        register(JambaAdapter)


def test_a_mixer_that_several_blocks_share_answers_for_the_one_that_calls_it() -> None:
    model = build(CASES["zamba"], torch.float64)
    layers: Any = model.get_submodule("model.layers")
    layers[3].shared_transf = layers[1].shared_transf  # one module now, not two with the same weights
    tokens, mask = _inputs()
    expected = stock(model, tokens, mask)
    with hooked(model) as wrapped:
        torch.testing.assert_close(stock(model, tokens, mask), expected)
        names = ["mixer1.hook_z", "mixer1.hook_in", "mixer1.hook_out"]
        _, cache = wrapped.run_with_cache(tokens, names, attention_mask=mask)
        attention = layers[1].shared_transf.self_attn
        for layer in (1, 3):
            z = cache[f"blocks.{layer}.mixer1.hook_z"].flatten(2)
            torch.testing.assert_close(cache[f"blocks.{layer}.mixer1.hook_out"], attention.o_proj(z))
            values = attention.v_proj(cache[f"blocks.{layer}.mixer1.hook_in"])
            torch.testing.assert_close(wrapped.mixer_form(tokens, layer, mask, mixer=1).core.v.flatten(2), values)
            found = wrapped.implicit_attention(tokens, layer, attention_mask=mask, mixer=1)
            assert found.check(full=True) < 1e-10
            torch.testing.assert_close(found.form.z, cache[f"blocks.{layer}.mixer1.hook_z"])
    assert (cache["blocks.1.mixer1.hook_z"] - cache["blocks.3.mixer1.hook_z"]).abs().max() > 1e-3


def test_positions_go_on_after_a_cache_without_being_told() -> None:
    model = build(CASES["bamba"], torch.float64)
    tokens, _ = _inputs()
    with hooked(model) as wrapped:
        whole = wrapped.generate(tokens[:1], max_new_tokens=8, use_cache=False, stop_at_eos=False)
        cached = wrapped.generate(tokens[:1], max_new_tokens=8, stop_at_eos=False)
    assert torch.equal(whole, cached)
