"""Attribution: parts that add up, the same parts pushed forward by matrices alone, and the two approximations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.families.case import Case, all_in_float64, batch_of_tokens, build, hooked
from tests.families.cases import every_case
from tests.workbench import decoder_cases
from workbench.attribution import gradient_weighted, rollout
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

FAMILIES = [pytest.param(case, id=name) for name, case in every_case().items()]


def random_zoo(mixer: str, **options: int) -> HookedModel:
    torch.manual_seed(3)
    model = ZooModel(ZooConfig(mixer, vocab_size=50, d_model=12, n_layers=3, d_mlp=16, mixer_options=options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return HookedModel(model.double())


def uncapped(model: torch.nn.Module, logits: Tensor) -> Tensor:
    """Logits before the soft cap ``c tanh(x / c)`` of RecurrentGemma and xLSTM."""
    config = getattr(model, "config", None)
    cap = getattr(config, "logits_soft_cap", getattr(config, "output_logit_soft_cap", None))
    return logits if cap is None else cap * torch.atanh(logits / cap)


@pytest.mark.parametrize("case", FAMILIES)
def test_the_parts_add_up_to_the_logit(case: Case) -> None:
    tokens, mask = batch_of_tokens()
    with hooked(build(case, torch.float64)) as model, all_in_float64(torch.float64):
        plain = model(tokens, attention_mask=mask if case.padding else None)
        found = model.attribute(tokens, 7, attention_mask=mask if case.padding else None)
        torch.testing.assert_close(found.value, uncapped(model.wrapped, plain)[:, -1, 7], atol=1e-12, rtol=1e-12)
        assert found.check() < 1e-10
        assert found.tokens.abs().sum() > 1e-6
        if case.padding:
            assert found.tokens[1, :6].abs().max() < 1e-12  # nothing comes from a pad


@pytest.mark.parametrize("name", decoder_cases.CASES)
def test_the_parts_add_up_in_softmax_decoders(name: str) -> None:
    model = HookedModel(decoder_cases.build(name))
    found = model.attribute(decoder_cases.batch(), (3, 5), position=-2)
    assert found.check() < 1e-5
    assert found.tokens[:, -1].abs().max() == 0  # the token after the explained position


def pushed_forward(model: HookedModel, tokens: Tensor, target: int) -> Tensor:
    """Each embedding's share of the logit by matrices alone: the share of the stream from every source, layer by layer.

    Norm scales are read off the recorded streams; mixers are their implicit attention between their projections.
    """
    _, cache = model.run_with_cache(tokens)
    embedded = cache["hook_embed"]
    batch, time, width = embedded.shape
    share = torch.zeros(batch, time, time, width, dtype=torch.float64)  # [batch, source, position, width]
    at = torch.arange(time)
    share[:, at, at] = embedded

    def normed(stream: Tensor, norm: torch.nn.Module, share: Tensor) -> Tensor:
        scale = norm.weight.double() / (stream.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return share * scale[:, None]

    for layer, block in enumerate(model.wrapped.blocks):  # type: ignore[arg-type, union-attr]
        mixer = block.mixer
        read = normed(cache[f"blocks.{layer}.hook_resid_pre"], block.norm1, share)
        matrix = model.implicit_attention(tokens, layer, scope="mixer").dense()
        if hasattr(mixer, "v_proj"):
            each = mixer.head_dim
            values = read @ mixer.v_proj.weight.T
            matrix, out = matrix.repeat_interleave(each, dim=1), mixer.o_proj.weight
        else:
            values = read @ mixer.in_proj.weight[mixer.d_inner : 2 * mixer.d_inner].T  # Mamba-2: gate first, then x
            out = mixer.out_proj.weight
        mixed = torch.einsum("bcts,bisc->bitc", matrix, values)
        share = share + mixed @ out.T
    final = normed(cache["blocks.2.hook_resid_post"], model.wrapped.norm, share)  # type: ignore[arg-type]
    logits: Tensor = final[:, :, -1] @ model.wrapped.unembed.weight[target]  # type: ignore[union-attr, index]
    return logits


@pytest.mark.parametrize(("mixer", "options"), [("attention", {"n_heads": 3}), ("mamba2", {"head_dim": 4})])
def test_contributions_are_the_shares_of_the_stream_pushed_forward(mixer: str, options: dict[str, int]) -> None:
    model = random_zoo(mixer, **options)
    tokens = torch.randint(0, 50, (2, 11), generator=torch.Generator().manual_seed(0))
    with all_in_float64(torch.float64), torch.no_grad():
        expected = pushed_forward(model, tokens, 9)
        found = model.attribute(tokens, 9)
    torch.testing.assert_close(found.tokens, expected, atol=1e-11, rtol=1e-9)
    assert found.tokens.abs().max() > 1e-3


def test_the_forward_pass_is_untouched_and_nothing_stays_behind() -> None:
    model = random_zoo("mamba2", head_dim=4)
    tokens = torch.arange(9)[None]
    before = model(tokens)
    needed = [parameter.requires_grad for parameter in model.wrapped.parameters()]
    model.wrapped.requires_grad_(False)
    found = model.attribute(tokens, 4)
    assert found.value == before[:, -1, 4]
    assert not any(parameter.requires_grad for parameter in model.wrapped.parameters()) and any(needed)
    torch.testing.assert_close(model(tokens), before, atol=0, rtol=0)
    model.wrapped.requires_grad_(True)
    model(tokens).square().mean().backward()
    assert model.wrapped.blocks[0].mlp.up_proj.weight.grad.abs().max() > 0  # type: ignore[index, union-attr]


def test_targets_are_read_as_they_are_written() -> None:
    model = wb.load("zoo:mamba2")
    tokens = model.to_tokens(["The President of the United", "We hold these truths to be"])
    logits = model(tokens)[:, -1]
    difference = model.attribute(tokens, (" States", " self")).value
    ids = [model.to_tokens(text, prepend_bos=False)[0] for text in (" States", " self")]
    if all(len(one) == 1 for one in ids):
        torch.testing.assert_close(difference, logits[:, ids[0][0]] - logits[:, ids[1][0]], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.attribute(tokens).value, logits.amax(-1), atol=1e-4, rtol=1e-4)
    listed = model.attribute(tokens, [5, 8]).value
    torch.testing.assert_close(listed, logits[[0, 1], [5, 8]], atol=1e-4, rtol=1e-4)
    weights = torch.zeros(model.cfg.d_vocab)
    weights[5], weights[8] = 2.0, -0.5
    mixed = model.attribute(tokens, weights).value
    torch.testing.assert_close(mixed, 2 * logits[:, 5] - 0.5 * logits[:, 8], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("target", "position", "words"),
    [
        (2048, -1, "outside the vocabulary of 2048"),
        ((1, 2, 3), -1, "names two tokens"),
        ([1, 2, 3], -1, "one token for each of the 1 rows"),
        (torch.ones(3), -1, r"Weights over the vocabulary are \[2048\]"),
        ("no single token at all", -1, "a target is one token"),
        (1, 4, "outside the 4 tokens"),
    ],
)
def test_a_bad_target_is_one_sentence(target: object, position: int, words: str) -> None:
    model = wb.load("zoo:mamba2")
    with pytest.raises(InputError, match=words):
        model.attribute(torch.arange(4), target, position=position)  # type: ignore[arg-type]


def test_rollout_of_one_layer_is_half_its_matrix_and_half_the_identity() -> None:
    torch.manual_seed(0)
    model = HookedModel(ZooModel(ZooConfig("attention", vocab_size=30, d_model=16, n_layers=1, d_mlp=8)).double())
    tokens = torch.arange(7)[None]
    matrix = model.implicit_attention(tokens, 0).dense().mean(1)[:, -1]
    expected = 0.5 * matrix.float()
    expected[:, -1] += 0.5
    torch.testing.assert_close(rollout(model, tokens, None), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["attention", "mamba2"])
def test_gradient_weights_are_those_of_the_pattern_itself(name: str) -> None:
    """One layer: the gradient at an entry is also what autograd says of an explicit pattern."""
    torch.manual_seed(0)
    options = {"head_dim": 4} if name == "mamba2" else {"n_heads": 3}
    config = ZooConfig(name, vocab_size=30, d_model=12, n_layers=1, d_mlp=8, mixer_options=options)
    model = HookedModel(ZooModel(config).double())
    tokens = torch.arange(7)[None]
    patterns: list[Tensor] = []

    def keep(pattern: Tensor, hook: object) -> Tensor:
        patterns.append(pattern.detach().requires_grad_(True))
        return patterns[-1]

    with model.hooks([("blocks.0.mixer.hook_pattern", keep)]):
        logit = model(tokens)[0, -1, 5]
    (gradient,) = torch.autograd.grad(logit, patterns)
    weighted = (patterns[0].detach() * gradient).clamp(min=0).mean(1)[0, -1]
    weighted[-1] += 1.0
    found = gradient_weighted(model, tokens, None, 5)[0]
    torch.testing.assert_close(found.double(), weighted, atol=1e-6, rtol=1e-5)
    assert found[:-1].max() > 0


def test_an_attribution_is_the_same_in_inference_mode_and_takes_a_text_a_row() -> None:
    model = wb.load("zoo:mamba2")
    tokens = torch.randint(1, 2048, (2, 12), generator=torch.Generator().manual_seed(0))
    plain = model.attribute(tokens, [" the", " of"])
    with torch.inference_mode():
        inside = model.attribute(tokens.clone(), [" the", " of"])
        loaded = wb.load("zoo:mamba")
    torch.testing.assert_close(inside.tokens, plain.tokens, atol=0, rtol=0)
    for row, text in enumerate([" the", " of"]):
        torch.testing.assert_close(model.attribute(tokens[row], text).value[0], plain.value[row], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="was loaded in torch"):
        loaded.attribute(tokens)
