"""Softmax decoders: the hooked model is the stock model, and its hooks show and change what they say."""

import pytest
import torch

import workbench as wb
from tests.workbench.decoder_cases import (
    CASES,
    HEADS,
    LAYERS,
    PARALLEL,
    TRANSFORMERS,
    WINDOW,
    batch,
    build,
    eager,
    left_padded,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_logits_equal_the_stock_models_left_padded_rows_included(case: str) -> None:
    stock = build(case)
    tokens, mask, positions = left_padded()
    plain = stock(input_ids=tokens).logits
    padded = stock(input_ids=tokens, attention_mask=mask, position_ids=positions).logits
    model = wb.load(stock)
    assert (model(tokens) - plain).abs().max() < 1e-4
    assert (model(tokens, attention_mask=mask) - padded)[mask.bool()].abs().max() < 1e-4


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_left_padded_row_gives_what_it_gives_alone(case: str) -> None:
    tokens, mask, _ = left_padded()
    model = wb.load(build(case))
    together = model(tokens, attention_mask=mask)[1, mask[1].bool()]
    assert (together - model(tokens[1:, mask[1].bool()])[0]).abs().max() < 1e-4


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_residual_stream_adds_up(case: str) -> None:
    model = wb.load(build(case))
    _, cache = model.run_with_cache(batch())
    assert model.cfg.additive
    for layer in range(LAYERS):
        before, after = cache["resid_pre", layer], cache["resid_post", layer]
        mixed = before + cache[f"blocks.{layer}.mixer.hook_out"]
        assert (mixed + cache["mlp_out", layer] - after).abs().max() < 1e-4
        if case in PARALLEL:
            assert ("resid_mid", layer) not in cache
        else:
            assert (mixed - cache["resid_mid", layer]).abs().max() < 1e-5
        if layer:
            assert torch.equal(before, cache["resid_post", layer - 1])


@pytest.mark.parametrize("case", TRANSFORMERS)
@torch.no_grad()
def test_the_pattern_is_the_one_that_transformers_shows(case: str) -> None:
    stock = build(case)
    tokens, mask, positions = left_padded()
    shown = eager(stock)(
        input_ids=tokens, attention_mask=mask, position_ids=positions, output_attentions=True
    ).attentions
    _, cache = wb.load(stock).run_with_cache(tokens, ["hook_pattern"], attention_mask=mask)
    for layer in range(LAYERS):
        ours, theirs = cache["pattern", layer], shown[layer]
        real = mask[:, None, :, None].bool() & mask[:, None, None, :].bool()
        assert ours.shape == (2, HEADS, 11, 11)
        assert (ours - theirs).masked_fill(~real, 0).abs().max() < 1e-5


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_pattern_times_values_is_z_and_z_makes_the_mixers_output(case: str) -> None:
    tokens, mask, _ = left_padded()
    model = wb.load(build(case))
    names = ["hook_pattern", "hook_v", "hook_z", "mixer.hook_out", "hook_mlp_out"]
    _, cache = model.run_with_cache(tokens, names, attention_mask=mask)
    for layer in range(LAYERS):
        values = cache["v", layer].repeat_interleave(HEADS // cache["v", layer].shape[2], dim=2)
        z = torch.einsum("bhts,bshv->bthv", cache["pattern", layer], values)
        assert (z - cache["z", layer])[mask.bool()].abs().max() < 1e-5


@torch.no_grad()
def test_asking_for_the_pattern_does_not_change_the_logits() -> None:
    model = wb.load(build("llama"))
    assert (model.run_with_cache(batch(), "hook_pattern")[0] - model(batch())).abs().max() < 1e-5


@pytest.mark.parametrize("case", ["gemma2", "gemma3", "mistral", "gpt_oss"])
@torch.no_grad()
def test_a_sliding_window_is_part_of_the_pattern(case: str) -> None:
    model = wb.load(build(case))
    _, cache = model.run_with_cache(batch(), "hook_pattern")
    far = torch.ones(11, 11).tril(-WINDOW).bool()
    windowed = [bool((cache["pattern", layer][:, :, far] == 0).all()) for layer in range(LAYERS)]
    assert any(windowed) and cache["pattern", windowed.index(True)][:, :, ~far].count_nonzero() > 0


@torch.no_grad()
def test_an_edited_pattern_is_the_one_that_is_applied() -> None:
    model = wb.load(build("llama"))

    def look_at_yourself(pattern: torch.Tensor, hook: wb.HookPoint) -> torch.Tensor:
        return torch.eye(pattern.shape[-1]).expand_as(pattern)

    with model.hooks([("blocks.1.attn.hook_pattern", look_at_yourself)]):
        _, cache = model.run_with_cache(batch(), ["blocks.1.mixer.hook_v", "blocks.1.mixer.hook_z"])
    values = cache["v", 1].repeat_interleave(2, dim=2)
    assert (cache["z", 1] - values).abs().max() < 1e-6


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_replacing_the_residual_stream_between_mixer_and_mlp_replaces_all_of_it(case: str) -> None:
    model = wb.load(build(case))
    if case in PARALLEL:
        with pytest.raises(wb.errors.HookNameError):
            model.points["blocks.1.hook_resid_mid"]
        return
    other = torch.randn(2, 11, 32)
    with model.hooks([("blocks.1.hook_resid_mid", lambda tensor, hook: other)]):
        _, cache = model.run_with_cache(batch(), ["hook_mlp_out", "hook_resid_post"])
    # The stream after is the new one plus what the MLP makes of the new one: nothing of the old is left.
    assert (cache["resid_post", 1] - cache["mlp_out", 1] - other).abs().max() < 1e-4
    with model.hooks([("blocks.1.hook_resid_mid", lambda tensor, hook: tensor.zero_())]):
        _, cache = model.run_with_cache(batch(), ["hook_mlp_out", "hook_resid_post"])
    assert (cache["resid_post", 1] - cache["mlp_out", 1]).abs().max() < 1e-5


EDITABLE = ["hook_resid_pre", "mixer.hook_in", "mixer.hook_q", "mixer.hook_k", "mixer.hook_v", "mixer.hook_z"]
EDITABLE += ["mixer.hook_out", "hook_mlp_out", "hook_resid_post", "mlp.hook_pre", "mlp.hook_post"]


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_hook_point_can_be_read_and_changes_the_logits_when_edited(case: str) -> None:
    model = wb.load(build(case))
    clean = model(batch())
    skipped = {"mlp.hook_pre", "mlp.hook_post"} if case == "gpt_oss" else set()  # experts: no one hidden activation
    for tail in [*(set(EDITABLE) - skipped)]:
        name = f"blocks.1.{tail}"
        looked = model.run_with_hooks(batch(), fwd_hooks=[(name, lambda tensor, hook: None)])
        assert torch.equal(looked, clean), name
        edited = model.run_with_hooks(
            batch(), fwd_hooks=[(name, lambda tensor, hook: tensor + torch.randn_like(tensor))]
        )
        assert (edited - clean).abs().max() > 1e-3, name
    for name in ("hook_embed", "ln_final.hook_normalized", "hook_logits"):
        edited = model.run_with_hooks(batch(), fwd_hooks=[(name, lambda tensor, hook: tensor * 2 + 1)])
        assert (edited - clean).abs().max() > 1e-3, name


# Where a norm follows the output projection, the heads' parts do not add up after it.
@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("gemma")])
@torch.no_grad()
def test_zeroing_a_head_takes_away_exactly_its_part_of_the_mixers_output(case: str) -> None:
    model = wb.load(build(case))
    _, cache = model.run_with_cache(batch())
    outputs = []
    for head in [None, *range(HEADS)]:

        def only(z: torch.Tensor, hook: wb.HookPoint, head: int | None = head) -> torch.Tensor:
            kept = torch.zeros_like(z)
            if head is not None:
                kept[:, :, head] = z[:, :, head]
            return kept

        with model.hooks([("blocks.1.mixer.hook_head_out", only)]):
            outputs.append(model.run_with_cache(batch(), "blocks.1.mixer.hook_out")[1]["blocks.1.hook_attn_out"])
    bias, *parts = outputs
    total = bias + sum(part - bias for part in parts)
    assert (total - cache["blocks.1.mixer.hook_out"]).abs().max() < 1e-4


@torch.no_grad()
def test_grouped_key_value_heads_are_shown_as_groups() -> None:
    _, cache = wb.load(build("llama")).run_with_cache(batch())
    assert cache["q", 0].shape == (2, 11, 4, 8)
    assert cache["k", 0].shape == cache["v", 0].shape == (2, 11, 2, 8)


@pytest.mark.parametrize("case", ["llama", "gpt2", "opt", "zoo attention"])
@torch.no_grad()
def test_mlp_hooks_are_the_hidden_activation_before_and_after_the_non_linearity(case: str) -> None:
    model = wb.load(build(case))
    _, cache = model.run_with_cache(batch(), ["mlp.hook_pre", "mlp.hook_post"])
    pre, post = cache["pre", 1], cache["post", 1]
    assert pre.shape == post.shape and pre.shape[:2] == (2, 11)
    if case == "opt":
        assert torch.equal(post, pre.relu())
    elif case == "gpt2":
        assert (post - torch.nn.functional.gelu(pre, approximate="tanh")).abs().max() < 1e-6
    else:
        block = model.layout.blocks[1].block
        up = block.mlp.up_proj  # type: ignore[union-attr]
        mid = model.run_with_cache(batch(), "blocks.1.hook_resid_mid")[1]["resid_mid", 1]
        norm = block.post_attention_layernorm if case == "llama" else block.norm2
        assert (post - torch.nn.functional.silu(pre) * up(norm(mid))).abs().max() < 1e-5  # type: ignore[operator]


@torch.no_grad()
def test_parts_of_blocks_that_do_not_add_up_are_named_and_the_sum_is_not_claimed() -> None:
    from tests.workbench.decoder_cases import _opt

    stock = _opt(do_layer_norm_before=False).eval()
    reference = stock(input_ids=batch()).logits
    model = wb.load(stock)
    assert not model.cfg.additive
    logits, cache = model.run_with_cache(batch())
    assert (logits - reference).abs().max() < 1e-4
    assert ("resid_mid", 0) not in cache and cache["mlp_out", 0].shape == (2, 11, 32)
