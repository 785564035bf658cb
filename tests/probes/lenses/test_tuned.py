from pathlib import Path

import pytest
import torch
from torch import nn

from tests.families.case import build, hooked
from tests.families.cases import every_case
from tests.probes.lenses.models import affine_model, random_model, rows
from tests.workbench import decoder_cases
from workbench.errors import DivergenceError, InputError
from workbench.model import HookedModel
from workbench.probes.lenses import (
    LogitLens,
    TunedLens,
    TunedLensOptions,
    evaluate_lenses,
    residual_streams,
    train_tuned_lens,
    unembedding,
)
from workbench.probes.lenses import training as module
from workbench.probes.lenses.objective import accumulate_gradients


def undoing_the_drift(model: HookedModel) -> TunedLens:
    """In closed form: at depth l, ``h + A h + b`` is what the blocks from l on make of ``h``."""
    lens = TunedLens(model)
    weight, bias = torch.eye(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    with torch.no_grad():
        for depth in reversed(range(lens.n_layers)):
            drift = model.wrapped.blocks[depth].drift
            bias = weight @ drift.bias + bias
            weight = weight + weight @ drift.weight
            lens.translators[depth].weight.copy_(weight - torch.eye(8))
            lens.translators[depth].bias.copy_(bias)
    return lens


def test_an_untrained_lens_is_the_logit_lens() -> None:
    model = random_model()
    streams = residual_streams(model, rows(model))
    for depth in range(3):
        assert torch.equal(
            TunedLens(model).logits(streams[depth], depth), LogitLens(model).logits(streams[depth], depth)
        )


def test_an_affine_drift_is_undone_exactly_and_training_stays_there() -> None:
    model = affine_model(3)
    lens = undoing_the_drift(model)
    streams = residual_streams(model, rows(model))
    want = model(rows(model))
    for depth in range(4):
        torch.testing.assert_close(lens.logits(streams[depth], depth), want)
    losses = accumulate_gradients(lens, streams.flatten(1, 2), 1.0)
    assert float(losses.abs().max()) < 1e-10
    assert all(float(parameter.grad.abs().max()) < 1e-10 for parameter in lens.parameters())


def test_training_finds_the_affine_drift() -> None:
    model = affine_model()
    options = TunedLensOptions(steps=150, rows=8, learning_rate=5, weight_decay=0, clip=100)
    training = train_tuned_lens(model, rows(model, 16), options)
    start, end = training.losses[0], training.losses[-1]
    assert bool((start > 0.05).all()) and bool((end < 0.01 * start).all())
    table = training.table()
    assert list(table["kl"][:2]) == start.tolist() and len(table) == 300


@pytest.mark.parametrize("at_once", [2**24, 40 * 7])
def test_the_chunked_gradient_is_that_of_the_mean_divergence(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unembedding, "LOGITS_AT_ONCE", at_once)
    model = random_model(dtype=torch.float64)
    lens = TunedLens(model)
    for parameter in lens.parameters():
        nn.init.normal_(parameter, std=0.2)
    tokens = rows(model)
    streams = residual_streams(model, tokens).flatten(1, 2)
    losses = accumulate_gradients(lens, streams, 1 / tokens.numel())
    got = [parameter.grad.clone() for parameter in lens.parameters()]
    with torch.no_grad():
        target = model(tokens).flatten(0, 1).log_softmax(-1)
    want = torch.stack(
        [
            nn.functional.kl_div(
                lens.logits(streams[depth], depth).log_softmax(-1), target, log_target=True, reduction="batchmean"
            )
            for depth in range(2)
        ]
    )
    torch.testing.assert_close(losses / tokens.numel(), want.detach())
    for found, wanted in zip(got, torch.autograd.grad(want.sum(), list(lens.parameters())), strict=True):
        torch.testing.assert_close(found, wanted)
    assert all(parameter.grad is None for parameter in model.wrapped.parameters())


FAMILIES = ["mamba", "rwkv", "recurrent_gemma", "zoo gated_delta", "zoo gru"]
DECODERS = ["gpt2", "llama", "gemma2"]


@pytest.mark.parametrize("case", FAMILIES + DECODERS)
def test_training_lowers_the_divergence_at_every_depth(case: str) -> None:
    stock = build(every_case()[case]) if case in FAMILIES else decoder_cases.build(case)
    with hooked(stock) as model:
        tokens = rows(model, 24)
        options = TunedLensOptions(steps=25, rows=8, learning_rate=0.5, bias=case != "llama")
        lens = train_tuned_lens(model, tokens[:16], options).lens
        kl = evaluate_lenses([LogitLens(model), lens], tokens[16:]).pivot(index="depth", columns="lens", values="kl")
    assert bool((kl["tuned lens"][:-1] < kl["logit lens"][:-1]).all()), kl
    assert abs(kl["tuned lens"].iloc[-1]) < 1e-6


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_that_was_cut_off_ends_as_if_it_was_not(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model()
    options = TunedLensOptions(steps=9, rows=3, optimizer=optimizer)
    whole = train_tuned_lens(model, rows(model), options)
    gradients, file = module._gradients, tmp_path / "folder" / "training.pt"
    done = 0

    def cut_off(*arguments: object) -> torch.Tensor:
        nonlocal done
        done += 1
        if done == 8:
            raise KeyboardInterrupt
        return gradients(*arguments)

    monkeypatch.setattr(module, "_gradients", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_tuned_lens(model, rows(model), options, checkpoint=file, every=3)
    assert [path.name for path in file.parent.iterdir()] == ["training.pt"]
    resumed = train_tuned_lens(model, rows(model), options, checkpoint=file, every=3, resume=True)
    assert done == 8 + 3  # from the checkpoint after step 6
    assert torch.equal(resumed.losses, whole.losses)
    for ours, theirs in zip(resumed.lens.parameters(), whole.lens.parameters(), strict=True):
        assert torch.equal(ours, theirs) and float(ours.abs().max()) > 0


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    model = random_model()
    file = tmp_path / "training.pt"
    train_tuned_lens(model, rows(model), TunedLensOptions(steps=2), checkpoint=file)
    with pytest.raises(InputError, match="another training: momentum differ"):
        train_tuned_lens(model, rows(model), TunedLensOptions(steps=2, momentum=0.5), checkpoint=file, resume=True)
    with pytest.raises(InputError, match="rows of tokens differ"):
        train_tuned_lens(model, rows(model, seed=6), TunedLensOptions(steps=2), checkpoint=file, resume=True)


def test_each_row_is_seen_once_before_any_is_seen_again() -> None:
    tokens = torch.arange(10)[:, None].expand(10, 2)
    options = TunedLensOptions(steps=5, rows=4)
    order = torch.cat([module._rows(tokens, step, options) for step in range(5)])[:, 0]
    assert sorted(order[:10].tolist()) == sorted(order[10:].tolist()) == list(range(10))
    assert order[:10].tolist() != order[10:].tolist()


def test_the_rate_falls_linearly_and_rises_first_with_adamw() -> None:
    assert [TunedLensOptions(steps=4).share_of_rate(step) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    adamw = TunedLensOptions(steps=10, optimizer="adamw")
    assert [adamw.share_of_rate(step) for step in (0, 1, 2, 6)] == [0, 0.5, 1, 0.5]


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    model = random_model()
    with pytest.raises(InputError, match="no rows of tokens"):
        train_tuned_lens(model, rows(model)[:0])
    with pytest.raises(InputError, match="resume needs the checkpoint"):
        train_tuned_lens(model, rows(model), resume=True)
    for wrong in ({"steps": 0}, {"rows": 0}, {"momentum": 1.0}, {"clip": 0.0}, {"learning_rate": 0.0}):
        with pytest.raises(InputError):
            TunedLensOptions(**wrong)
    with torch.no_grad():
        model.wrapped.embed.weight[3] = float("nan")
    with pytest.raises(DivergenceError, match="not finite at step 0"):
        train_tuned_lens(model, rows(model), TunedLensOptions(steps=2))
