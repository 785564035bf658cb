"""HookedModel and its cache: what is shown, what is kept, what is left behind."""

import weakref

import pytest
import torch
from torch import nn

import workbench as wb
from tests.workbench import recurrent_cases
from tests.workbench.decoder_cases import CASES, LAYERS, WIDTH, batch, build, left_padded
from workbench.errors import HookEditError, HookNameError, HookNeverFiredError, InputError, LoadError
from workbench.hooks import HookPoint


@pytest.fixture
def model() -> wb.HookedModel:
    return wb.load(build("llama"))


def hooks_left(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.mark.parametrize("case", [*CASES, *recurrent_cases.CASES])
@torch.no_grad()
def test_cached_tensors_are_what_they_were_when_they_were_shown(case: str) -> None:
    model = wb.load(build(case) if case in CASES else recurrent_cases.build(case))
    copies = {}

    def copy(tensor: torch.Tensor, hook: HookPoint) -> None:
        copies[hook.name] = tensor.clone()

    tokens = batch() % 40
    with model.hooks([(None, copy)]):
        model(tokens)
    _, cache = model.run_with_cache(tokens)
    assert list(cache) == list(copies) and len(cache) > 10
    assert all(torch.equal(cache[name], copies[name]) for name in cache)


@torch.no_grad()
def test_an_edit_in_place_beside_a_cache_changes_only_its_own_point(model: wb.HookedModel) -> None:
    _, clean = model.run_with_cache(batch())
    with model.hooks([("blocks.1.hook_resid_pre", lambda tensor, hook: tensor.zero_())]):
        _, cache = model.run_with_cache(batch())
    assert torch.equal(cache["resid_post", 0], clean["resid_post", 0])
    assert (cache["resid_pre", 1] == 0).all()
    assert not torch.equal(cache["resid_post", 1], clean["resid_post", 1])


@pytest.mark.parametrize("name", ["hook_resid_pre", "hook_resid_mid", "mixer.hook_v", "hook_mlp_out"])
@torch.no_grad()
def test_an_edit_in_place_that_returns_nothing_counts(model: wb.HookedModel, name: str) -> None:
    def in_place(tensor: torch.Tensor, hook: HookPoint) -> None:
        tensor.mul_(-3)

    changed = model.run_with_hooks(batch(), fwd_hooks=[(f"blocks.1.{name}", in_place)])
    returned = model.run_with_hooks(batch(), fwd_hooks=[(f"blocks.1.{name}", lambda tensor, hook: tensor * -3)])
    assert (changed - returned).abs().max() < 1e-5 and (changed - model(batch())).abs().max() > 1e-3
    with torch.inference_mode():
        inferred = model.run_with_hooks(batch(), fwd_hooks=[(f"blocks.1.{name}", in_place)])
    assert (changed - inferred).abs().max() < 1e-5


@torch.no_grad()
def test_what_is_built_on_request_is_recorded_only_when_asked_for(model: wb.HookedModel) -> None:
    _, cache = model.run_with_cache(batch())
    assert not any("pattern" in name for name in cache)
    with pytest.raises(HookNameError, match="not recorded in this run"):
        cache["pattern", 0]
    _, cache = model.run_with_cache(batch(), lambda name: name.endswith("mixer.hook_pattern"))
    assert len(cache) == LAYERS and cache["blocks.0.attn.hook_pattern"].shape == (2, 4, 11, 11)


@torch.no_grad()
def test_no_module_hook_outlives_a_run(model: wb.HookedModel) -> None:
    assert hooks_left(model.wrapped) == 0
    model.run_with_cache(batch())
    with pytest.raises(ZeroDivisionError):
        model.run_with_hooks(batch(), fwd_hooks=[("hook_resid_mid", lambda tensor, hook: 1 / 0)])
    model.run_with_cache(batch(), stop_at_layer=1)
    model.implicit_attention(batch(), 0)
    assert hooks_left(model.wrapped) == 0 and not any(point.active for point in model.points.values())


@pytest.mark.parametrize("stop", [0, 1, LAYERS, -1])
@torch.no_grad()
def test_stopping_early_gives_the_residual_stream_and_runs_no_later_block(stop: int, model: wb.HookedModel) -> None:
    _, whole = model.run_with_cache(batch())
    entered = []
    handles = [
        block.block.register_forward_pre_hook(lambda module, args, i=i: entered.append(i))
        for i, block in enumerate(model.layout.blocks)
    ]
    residual, cache = model.run_with_cache(batch(), stop_at_layer=stop)
    for handle in handles:
        handle.remove()
    before = stop % LAYERS if stop != LAYERS else LAYERS
    expected = whole["resid_pre", before] if before < LAYERS else whole["resid_post", -1]
    assert torch.equal(residual, expected) and entered == list(range(before))
    assert list(cache) == [name for name in whole if name == "hook_embed" or name.startswith(_blocks(before))]
    with pytest.raises(HookNeverFiredError, match="ln_final"):
        model.run_with_cache(batch(), ["hook_embed", "ln_final.hook_normalized"], stop_at_layer=stop)
    with pytest.raises(InputError, match="between 0 and 3"):
        model(batch(), stop_at_layer=LAYERS + 1)


def _blocks(count: int) -> tuple[str, ...]:
    return tuple(f"blocks.{layer}." for layer in range(count))


@pytest.mark.parametrize("case", [*CASES, *recurrent_cases.CASES])
@torch.no_grad()
def test_implicit_attention_is_exact_in_every_layer_and_takes_one_forward_pass(case: str) -> None:
    model = wb.load(build(case) if case in CASES else recurrent_cases.build(case))
    embedded = []
    tokens, mask, _ = left_padded()
    tokens = tokens % 40
    with model.hooks([("hook_embed", lambda tensor, hook: embedded.append(1))]):
        for layer, attention in model.implicit_attentions(tokens, attention_mask=mask):
            alone = model.implicit_attention(tokens, layer, attention_mask=mask) if layer == 1 else attention
            assert attention.check() < 1e-5
            assert torch.equal(alone.dense(), attention.dense())
    assert len(embedded) == 2


@torch.no_grad()
def test_only_one_layers_tensors_are_held_at_a_time(model: wb.HookedModel) -> None:
    held: list[weakref.ref[wb.HookPoint]] = []
    alive = []
    for _, attention in model.implicit_attentions(batch()):
        held.append(weakref.ref(attention))  # type: ignore[arg-type]
        alive.append(sum(ref() is not None for ref in held))
        del attention
    assert alive[0] == 1 and max(alive) <= 2


@torch.no_grad()
def test_leaving_the_walk_over_layers_early_ends_the_forward_pass(model: wb.HookedModel) -> None:
    walk = model.implicit_attentions(batch(), layers=[0, 1])
    assert next(walk)[0] == 0
    walk.close()  # type: ignore[attr-defined]
    assert not any(adapter.recording for adapter in model.adapters)
    assert [layer for layer, _ in model.implicit_attentions(batch(), layers=[2, -3])] == [0, 2]


@torch.no_grad()
def test_an_error_inside_the_forward_pass_reaches_the_walker(model: wb.HookedModel) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        model.hooks([("blocks.1.hook_resid_pre", lambda tensor, hook: 1 / 0)]),
    ):
        list(model.implicit_attentions(batch()))


def test_two_models_built_from_one_configuration_do_not_disturb_each_other() -> None:
    first, sibling = build("llama"), build("llama")
    second = type(first)(first.config).eval()  # type: ignore[call-arg]
    plain = second(input_ids=batch()).logits
    hooked = wb.load(first)
    assert second.config is not hooked.wrapped.config and second.config._attn_implementation != "workbench"
    assert torch.equal(second(input_ids=batch()).logits, plain)
    other = wb.load(second)
    with hooked.hooks([("mixer.hook_z", lambda tensor, hook: tensor * 0)]):
        assert torch.equal(other(batch()), plain)
        zeroed = hooked(batch())
    assert torch.equal(hooked(batch()), sibling(input_ids=batch()).logits) and not torch.equal(zeroed, hooked(batch()))
    other.unwrap()
    assert hooked.run_with_cache(batch(), "hook_pattern")[1]["pattern", 0].shape == (2, 4, 11, 11)


@pytest.mark.parametrize("case", [*CASES, *recurrent_cases.CASES])
@torch.no_grad()
def test_unwrapping_gives_the_stock_model_back(case: str) -> None:
    stock = build(case) if case in CASES else recurrent_cases.build(case)
    tokens = batch() % 40
    attributes = {part: set(vars(part)) for part in stock.modules()}
    config, plain = stock.config, stock(input_ids=tokens).logits
    model = wb.load(stock)
    with pytest.raises(LoadError, match="hooked already"):
        wb.load(stock)
    assert model.unwrap() is stock
    assert stock.config is config and hooks_left(stock) == 0
    assert all(set(vars(part)) == attributes[part] for part in stock.modules())
    assert torch.equal(stock(input_ids=tokens).logits, plain)
    with pytest.raises(InputError, match="was unwrapped"):
        model(tokens)
    assert (wb.load(stock)(tokens) - plain).abs().max() < 1e-4


def test_backward_hooks_see_the_gradient(model: wb.HookedModel) -> None:
    kept, seen = [], []
    logits = model.run_with_hooks(
        batch(),
        fwd_hooks=[("blocks.1.hook_resid_post", lambda tensor, hook: kept.append(tensor))],
        bwd_hooks=[("blocks.1.hook_resid_post", lambda grad, hook: seen.append((hook.name, grad)))],
    )
    (expected,) = torch.autograd.grad(logits.square().sum(), kept, retain_graph=True)
    logits.square().sum().backward()
    assert seen[-1][0] == "blocks.1.hook_resid_post" and torch.allclose(seen[-1][1], expected)
    with torch.no_grad(), pytest.raises(InputError, match="no gradient"):
        model.run_with_hooks(batch(), bwd_hooks=[("hook_embed", lambda grad, hook: None)])


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda tensor: tensor[:, :3], r"shape \(2, 3, 32\); shape \(2, 11, 32\) \[batch, time, d_model\]"),
        (lambda tensor: tensor.double(), "dtype torch.float64; dtype torch.float32"),
        (lambda tensor: tensor.to("meta"), "device meta; device cpu"),
        (lambda tensor: tensor.tolist(), "returned list; return a tensor"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(model: wb.HookedModel, edit: object, told: str) -> None:
    with pytest.raises(HookEditError, match=told):
        model.run_with_hooks(batch(), fwd_hooks=[("blocks.0.hook_resid_post", lambda tensor, hook: edit(tensor))])  # type: ignore[operator]


def test_a_hook_name_that_matches_nothing_is_refused_with_the_nearest(model: wb.HookedModel) -> None:
    ran = []
    with pytest.raises(HookNameError, match=r"matches 'blocks.0.hook_resid_pots'; nearest: .*blocks.0.hook_resid_post"):
        model.run_with_hooks(batch(), fwd_hooks=[("blocks.0.hook_resid_pots", lambda tensor, hook: ran.append(1))])
    with pytest.raises(HookNameError, match="accepts none"):
        model.run_with_cache(batch(), lambda name: False)
    assert not ran


def test_a_hook_that_never_fired_is_an_error(model: wb.HookedModel) -> None:
    with (
        pytest.raises(HookNeverFiredError, match=r"blocks.2.hook_resid_post did not fire"),
        model.hooks([("blocks.2.hook_resid_post", lambda tensor, hook: None)]),
    ):
        model(batch(), stop_at_layer=1)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (torch.tensor([[3, 61]]), "Token 61 is outside the vocabulary of LlamaForCausalLM; ids go from 0 to 60"),
        (torch.tensor([[3, -1]]), "Token -1 is outside"),
        (torch.zeros(1, 65, dtype=torch.long), "65 tokens do not fit: LlamaForCausalLM has 64 positions"),
        (torch.zeros(1, 0, dtype=torch.long), "There are no tokens"),
        (torch.zeros(1, 3), "must be integers"),
        ("some text", "has no tokenizer"),
    ],
)
def test_input_that_the_model_cannot_take_is_refused(model: wb.HookedModel, tokens: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        model(tokens)


def test_masks_that_do_not_fit_are_refused(model: wb.HookedModel) -> None:
    with pytest.raises(InputError, match=r"shape \[2, 4\]; it must be \[2, 11\]"):
        model(batch(), attention_mask=torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(InputError, match="0 everywhere"):
        model(batch(), attention_mask=torch.tensor([[1] * 11, [0] * 11]))


def test_layers_and_heads_out_of_range_are_refused(model: wb.HookedModel) -> None:
    with pytest.raises(InputError, match="Layer 3 is out of range: LlamaForCausalLM has layers 0 to 2"):
        model.implicit_attention(batch(), 3)
    with pytest.raises(InputError, match="Head 4 is out of range: layer 0 has heads 0 to 3"):
        model.head_index(0, 4)
    assert model.layer_index(-1) == 2 and model.head_index(0, -1) == 3
    with pytest.raises(InputError, match="Layer 5 is out of range"):
        model.run_with_cache(batch())[1]["z", 5]


@torch.no_grad()
def test_the_loss_is_the_next_tokens_cross_entropy_over_real_tokens(model: wb.HookedModel) -> None:
    tokens, mask, _ = left_padded()
    logits, loss = model(tokens, attention_mask=mask, return_type="both")
    each = model(tokens, attention_mask=mask, return_type="loss", loss_per_token=True)
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    assert each.shape == (2, 10) and (each[1, :4] == 0).all() and (each[1, 4:] > 0).all()
    assert torch.allclose(each[0], -chosen[0], atol=1e-6)
    assert torch.allclose(loss, -torch.cat([chosen[0], chosen[1, 4:]]).mean(), atol=1e-6)
    with pytest.raises(InputError, match="at least two tokens"):
        model(tokens[:, :1], return_type="loss")


@torch.no_grad()
def test_a_cache_answers_to_every_spelling(model: wb.HookedModel) -> None:
    _, cache = model.run_with_cache(batch())
    for key in ("blocks.2.attn.hook_z", "blocks.2.mixer.hook_head_out", ("z", 2), ("z", -1), ("z", 2, "attn")):
        assert cache[key] is cache["blocks.2.mixer.hook_z"]
    assert cache["blocks.1.hook_attn_out"] is cache["blocks.1.mixer.hook_out"]
    assert cache["embed",] is cache["hook_embed"] and cache["post", 0, "mlp"] is cache["blocks.0.mlp.hook_post"]
    stacked = cache.stack_activation("resid_post")
    assert stacked.shape == (LAYERS, 2, 11, WIDTH) and torch.equal(stacked[1], cache["resid_post", 1])
    assert torch.equal(cache.stack_activation("mixer.hook_out", [2])[0], cache["blocks.2.mixer.hook_out"])
    with pytest.raises(HookNameError, match=r"no 'blocks.0.hook_resid_pots'; nearest: .*resid_post"):
        cache["blocks.0.hook_resid_pots"]
    assert cache.nbytes > sum(cache["resid_post", layer].nbytes for layer in range(LAYERS))
    with pytest.raises(InputError, match="2 sequences"):
        cache.remove_batch_dim()
    assert model.run_with_cache(batch()[:1])[1].remove_batch_dim()["z", 0].shape == (11, 4, 8)
    assert cache.to("cpu").detach()["z", 0].device.type == "cpu"


@pytest.mark.parametrize("case", ["mamba", "mamba2"])
@torch.no_grad()
def test_recurrent_tools_names_lead_to_the_same_tensors_and_states_are_stacked_over_time(case: str) -> None:
    model = wb.load(recurrent_cases.build(case))
    tokens = batch() % 40
    _, cache = model.run_with_cache(tokens, ["hook_ssm_state", "hook_B", "hook_z"])
    adapter = model.adapters[0]
    state = cache["blocks.0.hook_h"]
    assert state is cache["blocks.0.mixer.hook_state"] and cache["blocks.0.hook_B"] is cache["k", 0]
    assert state.shape[:3] == (2, 11, adapter.n_heads)
    assert not any("attn" in alias and "mamba" in alias for alias in model.points.aliases)
