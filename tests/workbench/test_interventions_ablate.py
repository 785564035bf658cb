"""Ablations equal the stock model with its weights or its tensors changed from outside."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from workbench.interventions import Ablate, Reference, permutation_in_one_cycle
from workbench.model import HookedModel

LAYER = 1
Edit = Callable[[Tensor], Tensor]


def stock_gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=16, n_embd=16, n_layer=2, n_head=4))


def stock_llama() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=30, num_hidden_layers=2, **sizes))


def stock_mamba() -> nn.Module:
    return MambaForCausalLM(MambaConfig(vocab_size=30, hidden_size=8, state_size=4, num_hidden_layers=2))


def stock_mamba2() -> nn.Module:
    sizes = {"hidden_size": 8, "num_heads": 4, "head_dim": 4, "state_size": 4, "n_groups": 1, "chunk_size": 4}
    return Mamba2ForCausalLM(Mamba2Config(vocab_size=30, num_hidden_layers=2, **sizes))


# The stock module that projects the heads' outputs, the width of a head in its input, and the block's parts.
STOCK: dict[str, tuple[Callable[[], nn.Module], str, int, str, str | None]] = {
    "gpt2": (stock_gpt2, "transformer.h.1.attn.c_proj", 4, "transformer.h.1.attn", "transformer.h.1.mlp"),
    "llama": (stock_llama, "model.layers.1.self_attn.o_proj", 4, "model.layers.1.self_attn", "model.layers.1.mlp"),
    "mamba": (stock_mamba, "backbone.layers.1.mixer.out_proj", 1, "backbone.layers.1.mixer", None),
    "mamba2": (stock_mamba2, "backbone.layers.1.mixer.out_proj", 4, "backbone.layers.1.mixer", None),
}


@functools.cache
def pair(name: str) -> tuple[nn.Module, HookedModel]:
    """The stock model, untouched, and a hooked one with the same weights."""
    make = STOCK[name][0]
    torch.manual_seed(3)
    stock = make().eval()
    twin = make()
    twin.load_state_dict(stock.state_dict())
    return stock, HookedModel(twin)


@contextmanager
def edited_input(module: nn.Module, edit: Edit) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda _, args: (edit(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def edited_output(module: nn.Module, edit: Edit) -> Iterator[None]:
    def hook(_: nn.Module, args: object, output: object) -> object:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)  # type: ignore[arg-type]

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def read_by(stock: nn.Module, name: str, tokens: Tensor) -> Tensor:
    """What the stock module `name` reads in a plain run."""
    seen: list[Tensor] = []
    with torch.no_grad(), edited_input(stock.get_submodule(name), lambda x: seen.append(x) or x):
        stock(tokens)
    return seen[0]


def tokens_of(batch: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(30, (batch, 6), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def compare(name: str, ablate: Ablate, module: str, edit: Edit, on_input: bool = True) -> None:
    stock, hooked = pair(name)
    tokens = tokens_of()
    changed = edited_input if on_input else edited_output
    with changed(stock.get_submodule(module), edit):
        expected = stock(tokens).logits
    torch.testing.assert_close(
        hooked.run_with_hooks(tokens, fwd_hooks=ablate.hooks(hooked, tokens)), expected, rtol=1e-4, atol=1e-5
    )
    with ablate.applied(hooked, tokens):
        torch.testing.assert_close(hooked(tokens), expected, rtol=1e-4, atol=1e-5)
    # The ablation did something, and nothing of it is left.
    assert (expected - stock(tokens).logits).abs().max() > 1e-4
    torch.testing.assert_close(hooked(tokens), stock(tokens).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("site", ["L1H2", "L1H1:3"])
def test_zero_ablated_heads_are_zero_columns_of_the_output_projection(name: str, site: str) -> None:
    _, projection, width, _, _ = STOCK[name]
    first, last = (2, 3) if site == "L1H2" else (1, 3)

    def edit(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., first * width : last * width] = 0
        return x

    compare(name, Ablate(site), projection, edit)


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_mean_ablated_heads_write_the_mean_of_the_reference(name: str, per_position: bool, own: bool) -> None:
    stock, projection, width, _, _ = (pair(name)[0], *STOCK[name][1:])
    reference = tokens_of() if own else tokens_of(batch=3, seed=9)
    axes = (0,) if per_position else (0, 1)
    mean = read_by(stock, projection, reference).mean(axes, keepdim=True)
    part = slice(2 * width, 3 * width)

    def edit(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., part] = mean[..., part]
        return x

    ablate = Ablate("L1H2", "mean", None if own else reference, per_position=per_position)
    compare(name, ablate, projection, edit)


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("reference_batch", [None, 4, 3])
def test_resampled_heads_write_what_they_wrote_elsewhere(name: str, reference_batch: int | None) -> None:
    stock, projection, width, _, _ = (pair(name)[0], *STOCK[name][1:])
    own = reference_batch is None
    reference = tokens_of() if own else tokens_of(reference_batch, seed=9)
    written = read_by(stock, projection, reference)
    rows = permutation_in_one_cycle(len(reference), torch.Generator().manual_seed(7))
    chosen = torch.stack([written[rows[i % len(rows)]] for i in range(4)])
    part = slice(0, 2 * width)

    def edit(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., part] = chosen[..., part]
        return x

    compare(name, Ablate("L1H0:2", "resample", None if own else reference, seed=7), projection, edit)


@pytest.mark.parametrize("name", STOCK)
def test_an_ablated_mixer_writes_nothing(name: str) -> None:
    compare(name, Ablate("L1.mixer"), STOCK[name][3], torch.zeros_like, on_input=False)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_ablated_mlp_writes_its_mean(name: str) -> None:
    stock = pair(name)[0]
    module = STOCK[name][4]
    assert module is not None
    seen: list[Tensor] = []
    with torch.no_grad(), edited_output(stock.get_submodule(module), lambda x: seen.append(x) or x):
        stock(tokens_of())
    mean = seen[0].mean((0, 1), keepdim=True)
    compare(name, Ablate("L1.mlp", "mean"), module, lambda x: mean.expand_as(x), on_input=False)


@pytest.mark.parametrize("name", STOCK)
@torch.no_grad()
def test_an_ablated_layer_leaves_the_residual_stream_as_it_was(name: str) -> None:
    hooked, tokens = pair(name)[1], tokens_of()
    ablate = Ablate("L1")
    names = ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
    with ablate.applied(hooked):
        _, cache = hooked.run_with_cache(tokens, names_filter=names)
    torch.testing.assert_close(cache[names[0]], cache[names[1]])


@torch.no_grad()
def test_padding_does_not_count_towards_the_mean() -> None:
    hooked = pair("llama")[1]
    short, long = tokens_of(1, seed=1)[:, :3], tokens_of(1, seed=2)
    padded = torch.cat([torch.cat([torch.zeros_like(short), short], dim=1), long])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    values = [Reference.record(hooked, tokens, "L1H0").values for tokens in (short, long)]
    name = "blocks.1.mixer.hook_z"
    expected = torch.cat([value[name][0] for value in values]).mean(0)
    reference = Reference.record(hooked, padded, "L1H0", mask)
    torch.testing.assert_close(reference.mean(name, per_position=False)[0, 0], expected, rtol=1e-4, atol=1e-6)
    per_position = reference.mean(name, per_position=True)[0]
    torch.testing.assert_close(per_position[2], values[1][name][0, 2], rtol=1e-4, atol=1e-6)
    by_tokens = Ablate("L1H0", "mean", padded, reference_mask=mask).hooks(hooked)
    recorded = Ablate("L1H0", "mean", reference).hooks(hooked)
    out = [hooked.run_with_hooks(long, fwd_hooks=hooks) for hooks in (by_tokens, recorded)]
    torch.testing.assert_close(out[0], out[1])


@torch.no_grad()
def test_a_mean_is_put_in_at_every_step_of_a_generation() -> None:
    stock, hooked = pair("mamba")
    tokens = tokens_of(2)
    mean = read_by(stock, STOCK["mamba"][1], tokens).mean((0, 1))
    seen: list[Tensor] = []

    def keep(tensor: Tensor, hook: object) -> None:
        seen.append(tensor.flatten(2).clone())

    recorder = [("blocks.1.mixer.hook_head_out", keep)]
    with Ablate("L1H0:16", "mean", tokens).applied(hooked), hooked.hooks(fwd_hooks=recorder):
        hooked.generate(tokens, max_new_tokens=3)
    assert [written.shape[1] for written in seen] == [6, 1, 1]
    for written in seen:
        torch.testing.assert_close(written, mean.expand_as(written), rtol=1e-4, atol=1e-6)


def test_gradients_pass_beside_an_ablated_head_and_not_through_it() -> None:
    hooked, tokens = pair("llama")[1], tokens_of(2)
    grads: list[Tensor] = []

    def keep(grad: Tensor, hook: object) -> None:
        grads.append(grad.detach().clone())

    # Heads 0 and 1 are all that reads the first of the two groups of values.
    hooks = Ablate("L0H0:2").hooks(hooked)
    logits = hooked.run_with_hooks(tokens, fwd_hooks=hooks, bwd_hooks=[("blocks.0.mixer.hook_v", keep)])
    logits.square().sum().backward()
    hooked.zero_grad()
    assert grads[0][:, :, 0].abs().max() == 0
    assert grads[0][:, :, 1].abs().max() > 0
