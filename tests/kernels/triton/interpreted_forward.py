"""Outputs, states and gradients against the float64 reference; `test_interpreter` runs this in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import normal, operands, relative_error
from workbench import kernels
from workbench.kernels import Delta, DiagonalDecay, ScalarDecay
from workbench.kernels.forms import Reader
from workbench.kernels.segments import during
from workbench.kernels.triton import channels, operations

SINGLE = torch.float32


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few programs: an operation costs the interpreter the same whatever the tile."""
    torch.manual_seed(0)
    monkeypatch.setattr(random_forms, "BATCH", 1)
    monkeypatch.setattr(random_forms, "HEADS", 2)
    monkeypatch.setattr(random_forms, "VALUE", 17)


def scalar(time: int, mean: float = 1.0) -> Reader:
    return random_forms.scalar_decay(time, SINGLE, groups=1, mean=mean)


def diagonal(time: int, mean: float = 1.0) -> Reader:
    return random_forms.diagonal_decay(time, SINGLE, groups=2, mean=mean, value=17)


def gated_delta(time: int, mean: float = 1.0) -> Reader:
    return random_forms.delta_rule(time, SINGLE, groups=1, mean=mean, scalar=True)


def channel_delta(time: int, mean: float = 1.0) -> Reader:
    return random_forms.delta_rule(time, SINGLE, groups=2, mean=mean)


def delta_apart(time: int, mean: float = 1.0) -> Reader:
    """A probe and an eraser of their own, and no write."""
    form = random_forms.delta_rule(time, SINGLE, groups=1, mean=mean)
    probe = torch.nn.functional.normalize(normal(1, time, 2, random_forms.KEY, dtype=SINGLE), dim=-1)
    erase = probe * torch.rand(probe.shape)
    return replace(form, probe=probe, erase=erase, write=None)


FORMS: dict[str, Callable[..., Reader]] = {
    "scalar": scalar,
    "diagonal": diagonal,
    "gated delta": gated_delta,
    "channel delta": channel_delta,
    "delta apart": delta_apart,
}


def wide(form: Reader) -> Reader:
    return replace(form, **{name: x.double() for name, x in operands(form).items()})


def state_of(form: Reader) -> Tensor:
    return normal(form.batch, form.heads, form.k.shape[-1], form.v.shape[-1], dtype=SINGLE)


def results(form: Reader, state: Tensor, backend: kernels.Backend) -> dict[str, Tensor]:
    """Outputs, final state and every gradient of a random sum of the two."""
    given = {name: x.clone().requires_grad_() for name, x in operands(form).items()}
    state = state.clone().requires_grad_()
    outputs, final = kernels.forward(replace(form, **given), state, backend=backend)
    assert final is not None
    generator = torch.Generator().manual_seed(1)
    loss = (outputs * torch.randn(outputs.shape, generator=generator)).sum()
    (loss + (final * torch.randn(final.shape, generator=generator)).sum()).backward()
    gradients = {name: x.grad for name, x in given.items() if x.grad is not None}
    assert gradients.keys() == given.keys() and state.grad is not None
    return {"outputs": outputs, "final": final, "state": state.grad, **gradients}


def check(form: Reader, tolerance: float) -> None:
    state = state_of(form)
    got = results(form, state, "triton")
    for name, expected in results(wide(form), state.double(), "reference").items():
        assert relative_error(got[name], expected) < tolerance, name


@pytest.mark.parametrize("kind", FORMS)
def test_outputs_states_and_gradients_are_those_of_the_reference(kind: str) -> None:
    # More than one chunk, the last one short; keys and values of no power of two, values of more than one tile.
    check(FORMS[kind](37 if kind != "scalar" else 70), 3e-6)


@pytest.mark.parametrize("kind", ["scalar", "diagonal", "gated delta"])
def test_decays_from_one_to_e_to_the_minus_fifty_a_step_keep_their_digits(kind: str) -> None:
    form = FORMS[kind](20)
    spread = torch.linspace(0, 50, form.log_decay.numel())[torch.randperm(form.log_decay.numel())]
    check(replace(form, log_decay=-spread.view(form.log_decay.shape)), 3e-6)


@pytest.mark.parametrize("kind", ["scalar", "diagonal", "channel delta"])
def test_a_reset_forgets_everything_before_it_and_has_no_gradient(kind: str) -> None:
    form = FORMS[kind](20)
    decay = form.log_decay.clone()
    decay[:, 11] = -torch.inf
    form = replace(form, log_decay=decay)
    state = state_of(form)
    got = results(form, state, "triton")
    assert not got["log_decay"][:, 11].any()
    rest = replace(form, **{name: x[:, 11:] for name, x in operands(form).items()})
    alone, final = kernels.forward(wide(rest), torch.zeros_like(state).double(), backend="reference")
    assert final is not None
    assert relative_error(got["outputs"][:, 11:], alone) < 1e-6
    assert relative_error(got["final"], final) < 1e-6
    assert all(bool(x.isfinite().all()) for x in got.values())


def test_a_weak_decay_after_strong_ones_is_not_lost_in_their_sum() -> None:
    # A float32 running sum near 2500 is off by 1e-4; what decays by it here is the whole output.
    form = scalar(64)
    decay = torch.full_like(form.log_decay, -50.0)
    decay[:, 50:] = -0.01
    check(replace(form, log_decay=decay), 2e-6)


@pytest.mark.parametrize("write", [1.0, 1.999])
def test_a_delta_rule_survives_keys_that_are_all_alike(write: float) -> None:
    form = gated_delta(24, mean=1e-3)
    k = torch.nn.functional.normalize(form.k[:, :1] + 1e-3 * form.k, dim=-1)
    form = replace(form, k=k, write=torch.full_like(form.v[..., 0], write))
    check(form, 2e-5)


@pytest.mark.parametrize("kind", ["scalar", "channel delta"])
def test_one_step_and_none(kind: str) -> None:
    check(FORMS[kind](1), 3e-6)
    form = FORMS[kind](0)
    state = state_of(form)
    outputs, final = kernels.forward(form, state, backend="triton")
    assert outputs.shape == form.v.shape and final is not None and torch.equal(final, state)


def test_strided_and_expanded_operands_are_read_in_place() -> None:
    form = scalar(21)
    mixed = torch.cat([form.v.flatten(2), form.q.flatten(2), form.k.flatten(2)], dim=-1)
    v, q, k = mixed.split([34, 5, 5], dim=-1)
    form = replace(form, q=q[:, :, None], k=k[:, :, None], v=v.unflatten(-1, (2, 17)))
    check(replace(form, log_decay=form.log_decay[:1, :1].expand(1, 21, 2)), 3e-6)


def test_exclusive_and_normalised_reading_reach_the_kernels_in_plain_form() -> None:
    form = replace(diagonal(20), read=torch.rand(1, 20, 2), diagonal=normal(1, 20, 2, dtype=SINGLE))
    check(form, 3e-6)


def test_half_precision_operands_are_read_as_they_are() -> None:
    form = scalar(20)
    half = {name: getattr(form, name).half() for name in ("q", "k", "v")}
    form = replace(form, **half)
    outputs, final = kernels.forward(form, backend="triton")
    expected, last = kernels.forward(wide(form), backend="reference")
    assert outputs.dtype == torch.float16 and final is not None and last is not None
    assert relative_error(outputs, expected) < 1e-3 and relative_error(final, last) < 1e-6


def test_only_what_is_asked_for_has_a_gradient() -> None:
    form = gated_delta(10)
    v = form.v.clone().requires_grad_()
    kernels.forward(replace(form, v=v), backend="triton")[0].sum().backward()
    wide_v = form.v.double().requires_grad_()
    kernels.forward(replace(wide(form), v=wide_v), backend="reference")[0].sum().backward()
    assert v.grad is not None and wide_v.grad is not None
    assert relative_error(v.grad, wide_v.grad) < 1e-6


@pytest.mark.parametrize("kind", ["mamba", "cells", "diagonal"])
def test_one_value_a_head_is_scanned_channel_by_channel(kind: str) -> None:
    form: DiagonalDecay
    if kind == "diagonal":
        form = random_forms.diagonal_decay(70, SINGLE, groups=1, value=1)
    else:
        form = (random_forms.mamba if kind == "mamba" else random_forms.cells)(70, SINGLE, mean=0.3)
    decay = form.log_decay.clone()
    decay[:, 20] = -1000.0 if kind == "mamba" else -torch.inf
    form, state = replace(form, log_decay=decay), state_of(form)
    assert channels.fits(form, state) and not channels.fits(form, state.clone().requires_grad_())
    outputs, final = kernels.forward(form, state, backend="triton")
    expected, last = kernels.forward(wide(form), state.double(), backend="reference")
    assert final is not None and last is not None
    assert relative_error(outputs, expected) < 1e-6 and relative_error(final, last) < 1e-6
    _, _, starts = channels.forward(form, state)
    _, middle = kernels.forward(during(wide(form), slice(0, 64)), state.double(), backend="reference")
    assert middle is not None
    assert torch.equal(starts[:, 0], state) and relative_error(starts[:, 1], middle) < 1e-6


def test_nan_reaches_its_chunk_and_what_follows_and_nothing_before() -> None:
    form = diagonal(40)
    for name, place in (("v", (0, 35, 1, 3)), ("log_decay", (0, 35, 1, 2)), ("k", (0, 35, 1, 0))):
        operand = getattr(form, name).clone()
        operand[place] = torch.nan
        outputs, final = kernels.forward(replace(form, **{name: operand}), backend="triton")
        assert final is not None
        assert bool(outputs[:, :32].isfinite().all()) and bool(outputs[:, :, 0].isfinite().all()), name
        assert bool(outputs[0, 35:, 1].isnan().any(-1).all()) and bool(final[0, 1].isnan().any()), name


def test_sizes_of_tiles_are_those_of_the_form() -> None:
    sizes = operations.tiles_of(ScalarDecay(*(torch.zeros(1, 100, 1, 80) for _ in range(3)), torch.zeros(1, 100, 1)))
    assert (sizes.steps, sizes.key, sizes.levels, sizes.precision) == (64, 128, 6, "tf32x3")
    half = torch.zeros(1, 100, 1, 80, dtype=torch.bfloat16)
    assert operations.tiles_of(DiagonalDecay(half, half, half, half)).precision == "tf32"
    assert operations.tiles_of(Delta(half, half, half.float(), half)).precision == "tf32x3"
