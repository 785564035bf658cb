"""Edits reach what they name and nothing else: in place or returned, cached or not, however large the numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.workbench import recurrent_cases
from tests.workbench.decoder_cases import CASES, GROUPED, HEADS, LAYERS, PARALLEL, SIZES, batch, build
from workbench.errors import HookEditError, HookNameError, InputError
from workbench.families import recurrent
from workbench.hooks import HookPoint, HookPoints, _pairs

SEQUENTIAL = [case for case in CASES if case not in PARALLEL]


def nothing(tensor: Tensor, hook: HookPoint) -> None:
    return None


@pytest.mark.parametrize("name", ["mixer.hook_k", "mixer.hook_v"])
@pytest.mark.parametrize("case", ["llama", "gpt2", "zoo attention"])
@torch.no_grad()
def test_an_edit_of_keys_or_values_in_place_leaves_the_cache_alone(case: str, name: str) -> None:
    model = wb.load(build(case))

    def in_place(tensor: Tensor, hook: HookPoint) -> None:
        tensor[..., 0] *= -3.0

    def returned(tensor: Tensor, hook: HookPoint) -> Tensor:
        changed = tensor.clone()
        changed[..., 0] *= -3.0
        return changed

    def logits(edit: Any, use_cache: bool) -> Tensor:
        kept: list[Tensor] = []
        hooks = [(name, edit), ("hook_logits", lambda tensor, hook: kept.append(tensor[:, -1].clone()))]
        with model.hooks(hooks):
            model.generate(batch(time=5), 6, stop_at_eos=False, use_cache=use_cache)
        return torch.stack(kept)

    expected = logits(returned, False)
    for edit in (in_place, returned):
        for use_cache in (False, True):
            torch.testing.assert_close(logits(edit, use_cache), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("tail", "canonical"),
    [("hook_out", "mixer.hook_out"), ("hook_in", "mixer.hook_in"), ("mlp.hook_out", "hook_mlp_out")],
)
def test_a_tail_means_one_hook_in_every_layer(tail: str, canonical: str) -> None:
    model = wb.load(build("llama"))
    assert model.points.select(tail) == [f"blocks.{layer}.{canonical}" for layer in range(LAYERS)]


def test_globs_and_functions_mean_canonical_names_first() -> None:
    points = wb.load(build("llama")).points
    assert points.select("*.hook_out") == points.select("mixer.hook_out")
    assert points.select(lambda name: name.endswith("hook_in")) == points.select("mixer.hook_in")
    assert points.select("blocks.*.attn.hook_z") == points.select("attn.hook_z") == points.select("mixer.hook_z")
    assert points.select("blocks.1.hook_out") == ["blocks.1.hook_resid_post"]


def test_an_alias_tail_that_means_two_hooks_is_refused_and_one_in_some_layers_is_completed() -> None:
    points = HookPoints(
        [HookPoint(f"blocks.{layer}.{tail}", ()) for layer in (0, 1) for tail in ("hook_a", "mixer.hook_b")]
        + [HookPoint("blocks.1.mixer.hook_c", ())],
        {
            "blocks.0.hook_x": "blocks.0.hook_a",
            "blocks.0.mlp.hook_x": "blocks.0.mixer.hook_b",
            "blocks.0.mixer.hook_c": "blocks.0.mixer.hook_b",
        },
    )
    with pytest.raises(HookNameError, match=r"'hook_x' .*hook_a.*mixer\.hook_b"):
        points.select("hook_x")
    assert points.select("mlp.hook_x") == ["blocks.0.mixer.hook_b"]
    assert points.select("hook_c") == ["blocks.0.mixer.hook_b", "blocks.1.mixer.hook_c"]


def test_filters_and_hooks_that_say_nothing_are_refused_in_one_sentence() -> None:
    model = wb.load(build("llama"))
    with pytest.raises(HookNameError, match="empty"):
        model.run_with_cache(batch(), [])
    with pytest.raises(HookNameError, match="empty"):
        model.run_with_hooks(batch(), fwd_hooks=[([], nothing)])
    # The tests check annotations at run time, before the checks that users meet: those are asked directly.
    for hooks in (("hook_embed", nothing), ["hook_embed", nothing], [("hook_embed",)]):
        with pytest.raises(InputError, match=r"fwd_hooks takes a list of \(name, function\) pairs"):
            _pairs(hooks, "fwd_hooks")
    with pytest.raises(InputError, match="hook on 'hook_embed' is of type Tensor"):
        _pairs([("hook_embed", torch.zeros(1))], "fwd_hooks")


def test_the_nearest_names_of_a_tail_are_tails() -> None:
    points = wb.load(build("llama")).points
    with pytest.raises(HookNameError, match=r"nearest: mixer\.hook_out, ") as told:
        points.select("mixer.hook_outt")
    assert "blocks." not in str(told.value) and str(told.value).count(",") == 2
    with pytest.raises(HookNameError, match=r"nearest: blocks.2.mixer.hook_out"):
        points.select("blocks.2.mixer.hook_outt")


def wide(case: str, dtype: torch.dtype) -> wb.HookedModel:
    return wb.load(build(case).to(dtype), check=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", SEQUENTIAL)
@torch.no_grad()
def test_an_edit_between_mixer_and_mlp_is_exact_however_large_the_stream_is(case: str, dtype: torch.dtype) -> None:
    model = wide(case, dtype)
    other = torch.randn(2, 11, 32).to(dtype)

    def run(stream: Any, edit: Any) -> tuple[Tensor, Tensor]:
        with model.hooks([("blocks.1.hook_resid_pre", stream), ("blocks.1.hook_resid_mid", edit)]):
            _, cache = model.run_with_cache(batch(), ["hook_mlp_out", "hook_resid_post"])
        return cache["mlp_out", 1], cache["resid_post", 1]

    def in_place(tensor: Tensor, hook: HookPoint) -> None:
        tensor.copy_(other)

    plain = run(lambda tensor, hook: tensor, lambda tensor, hook: other)
    assert torch.equal(plain[1], other + plain[0])
    streams: list[Callable[[Tensor, HookPoint], Tensor]] = [
        lambda tensor, hook: tensor + 300,
        lambda tensor, hook: tensor * torch.inf,
        lambda tensor, hook: tensor * torch.nan,
    ]
    for stream in streams:
        for edit in (in_place, lambda tensor, hook: other):
            mlp, after = run(stream, edit)
            assert torch.equal(mlp, plain[0]) and torch.equal(after, plain[1])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.wrapped.modules())


@torch.no_grad()
def test_an_edit_of_the_middle_meets_the_edit_of_what_the_mlp_writes() -> None:
    model = wb.load(build("llama"))
    other = torch.randn(2, 11, 32)
    hooks = [
        ("blocks.1.hook_mlp_out", lambda tensor, hook: tensor * 0 + 2),
        ("blocks.1.hook_resid_mid", lambda tensor, hook: other),
        ("blocks.1.mixer.hook_out", lambda tensor, hook: tensor * 5),
    ]
    for order in (hooks, hooks[::-1]):
        with model.hooks(order):
            _, cache = model.run_with_cache(batch(), "blocks.1.hook_resid_post")
        assert torch.equal(cache["resid_post", 1], other + 2)


def test_gradients_reach_the_middle() -> None:
    model = wb.load(build("llama"))
    seen: list[Tensor] = []
    plain = model(batch())
    logits = model.run_with_hooks(
        batch(), bwd_hooks=[("blocks.1.hook_resid_mid", lambda grad, hook: seen.append(grad))]
    )
    assert torch.equal(logits, plain)
    logits.square().sum().backward()
    assert seen[0].shape == (2, 11, 32) and seen[0].abs().max() > 0


def _phi() -> torch.nn.Module:
    from transformers import PhiConfig, PhiForCausalLM

    return PhiForCausalLM(PhiConfig(**SIZES))


def _cohere() -> torch.nn.Module:
    from transformers import CohereConfig, CohereForCausalLM

    return CohereForCausalLM(CohereConfig(**GROUPED))


@pytest.mark.parametrize("make", [_phi, _cohere])
@torch.no_grad()
def test_an_edit_in_place_of_what_the_mixer_reads_does_not_reach_a_parallel_mlp(make: Any) -> None:
    torch.manual_seed(0)
    model = wb.load(make().eval())
    _, clean = model.run_with_cache(batch(), "blocks.1.hook_mlp_out")
    kept: list[Tensor] = []
    hooks = [
        ("blocks.1.mixer.hook_in", _zero),
        ("blocks.1.hook_mlp_out", lambda tensor, hook: kept.append(tensor.clone())),
    ]
    model.run_with_hooks(batch(), fwd_hooks=hooks)
    assert torch.equal(kept[0], clean["mlp_out", 1])


def _zero(tensor: Tensor, hook: HookPoint) -> None:
    tensor.zero_()


@pytest.mark.parametrize("case", recurrent_cases.CASES)
@torch.no_grad()
def test_a_recurrent_mixers_pattern_is_its_implicit_attention(case: str) -> None:
    model = wb.load(recurrent_cases.build(case))
    tokens, mask = recurrent_cases.batch_of_tokens()
    clean = model(tokens, attention_mask=mask)
    logits, cache = model.run_with_cache(tokens, "hook_pattern", attention_mask=mask)
    assert torch.equal(logits, clean) and not any("pattern" in name for name in model.run_with_cache(tokens)[1])
    for layer in range(2):
        attention = model.implicit_attention(tokens, layer, attention_mask=mask)
        assert torch.equal(cache["pattern", layer], attention.dense())


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("case", recurrent_cases.CASES)
@torch.no_grad()
def test_an_edited_recurrent_pattern_is_the_one_that_is_applied(case: str, in_place: bool) -> None:
    model = wb.load(recurrent_cases.build(case))
    tokens = recurrent_cases.batch_of_tokens()[0]

    def halve(pattern: Tensor, hook: HookPoint) -> Tensor | None:
        if in_place:
            pattern.mul_(0.5)
            return None
        return pattern * 0.5

    names = ["blocks.0.mixer.hook_z"]
    _, clean = model.run_with_cache(tokens, names)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode, model.hooks([("blocks.0.mixer.hook_pattern", halve)]):
            _, cache = model.run_with_cache(tokens, names)
        torch.testing.assert_close(cache["z", 0], clean["z", 0] * 0.5, atol=1e-5, rtol=1e-4)
    with (
        pytest.raises(HookEditError, match="hook_state"),
        model.hooks([("blocks.0.mixer.hook_pattern", halve), ("blocks.0.mixer.hook_state", nothing)]),
    ):
        model(tokens)


@pytest.mark.parametrize("case", recurrent_cases.CASES)
@torch.no_grad()
def test_an_edited_pattern_while_generating_keeps_what_the_state_brings(case: str) -> None:
    model = wb.load(recurrent_cases.build(case))
    tokens = recurrent_cases.batch_of_tokens()[0][:, :7]

    def same(pattern: Tensor, hook: HookPoint) -> None:
        pattern.mul_(1.0)  # an edit in place, though one that leaves the numbers

    expected = model.generate(tokens, 5, stop_at_eos=False)
    with model.hooks([("mixer.hook_pattern", same)]):
        assert torch.equal(model.generate(tokens, 5, stop_at_eos=False), expected)


def test_gradients_reach_a_recurrent_pattern() -> None:
    model = wb.load(recurrent_cases.build("mamba2"))
    tokens = recurrent_cases.batch_of_tokens()[0]
    seen: list[Tensor] = []
    hooks = [("blocks.0.mixer.hook_pattern", lambda grad, hook: seen.append(grad))]
    model.run_with_hooks(tokens, bwd_hooks=hooks).square().sum().backward()
    assert seen[0].shape[1] == model.adapters[0].n_heads != HEADS and seen[0].abs().max() > 0


@torch.no_grad()
def test_a_pattern_too_large_to_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wb.load(recurrent_cases.build("mamba2"))
    monkeypatch.setattr(recurrent, "LARGEST_PATTERN", 2 * 6 * 19 * 19 - 1)
    with pytest.raises(InputError, match=r"4332 numbers.*implicit_attention\(\.\.\.\)\.dense\(heads, rows\)"):
        model.run_with_cache(recurrent_cases.batch_of_tokens()[0], "hook_pattern")
