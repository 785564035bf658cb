"""The delta rule's outputs, states and gradients: in chunks, step by step, and as its families publish it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import relative_error
from workbench.kernels import blocking
from workbench.kernels.delta import chunked, reference
from workbench.kernels.forms import Delta

TIMES = [1, 2, 31, 32, 33, 64, 65, 150]
KINDS = {
    "one decay a head": lambda time, dtype=torch.float64, **how: random_forms.delta_rule(
        time, dtype, scalar=True, **how
    ),
    "one decay a channel": random_forms.delta_rule,
    "erasing apart": random_forms.delta_apart,
}


def awkward(
    seed: int,
    time: int,
    *,
    heads: int = 6,
    groups: int = 3,
    probes: int = 0,
    erases: int = 0,
    key: int = 5,
    value: int = 3,
    channels: bool = True,
    write: bool = True,
    lowest: float = -50.0,
    dtype: torch.dtype = torch.float64,
) -> Delta:
    """Decays between exactly 0 and `lowest`, most of them near either end; writes up to 2; any grouping."""
    torch.manual_seed(seed)
    numbers = {"dtype": torch.float64}

    def directions(count: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(2, time, count, key, **numbers), dim=-1)

    shape = (2, time, heads, key if channels else 1)
    log_decay = lowest * torch.rand(shape, **numbers) ** 8 * (torch.rand(shape) < 0.7)
    operands = {
        "q": torch.randn(2, time, groups, key, **numbers),
        "k": directions(groups),
        "v": torch.randn(2, time, heads, value, **numbers),
        "log_decay": log_decay,
        "probe": directions(probes) if probes else None,
        "erase": 0.5 * directions(erases) if erases else None,
        "write": 2 * torch.rand(2, time, heads, **numbers) if write else None,
    }
    return Delta(**{name: None if x is None else x.to(dtype) for name, x in operands.items()})


def as_float64(form: Delta) -> Delta:
    return replace(form, **{name: x.double() for name, x in random_forms.operands(form).items()})


SHAPES = {
    "seed": st.integers(0, 2**31),
    "time": st.integers(1, 70),
    "sizes": st.sampled_from([(1, 1, 1), (4, 2, 1), (4, 1, 4), (6, 6, 2), (6, 3, 6)]),
    "key": st.integers(1, 6),
    "value": st.integers(1, 6),
    "probe": st.booleans(),
    "erase": st.booleans(),
    "channels": st.booleans(),
    "write": st.booleans(),
    "lowest": st.sampled_from([0.0, -0.1, -3.0, -50.0]),
}


def drawn(seed: int, time: int, sizes: tuple[int, int, int], probe: bool, erase: bool, **how: bool | float) -> Delta:
    heads, groups, others = sizes
    return awkward(
        seed,
        time,
        heads=heads,
        groups=groups,
        probes=others * probe,
        erases=groups * erase,
        **how,  # type: ignore[arg-type]
    )


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_chunks_give_what_the_steps_give(**how: object) -> None:
    form = drawn(**how)  # type: ignore[arg-type]
    initial = random_forms.states(form)
    expected, last = reference.forward(form, initial)
    got, final = chunked.forward(form, initial)
    assert relative_error(got, expected) < 1e-10
    assert relative_error(final, last) < 1e-10
    got, final = chunked.forward(replace(form, **{n: x.float() for n, x in random_forms.operands(form).items()}))
    expected, last = reference.forward(form)
    assert got.dtype == final.dtype == torch.float32
    assert relative_error(got, expected) < 1e-4
    assert relative_error(final, last) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_agree_with_steps_at_every_border(kind: str, time: int, dtype: torch.dtype) -> None:
    form = KINDS[kind](time, dtype)
    expected, last = reference.forward(as_float64(form))
    got, final = chunked.forward(form)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert got.dtype == final.dtype == dtype
    assert relative_error(got, expected) < tolerance
    assert relative_error(final, last) < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_leave_the_state_as_it_is(kind: str) -> None:
    form = KINDS[kind](0)
    state = random_forms.states(form)
    for run in (reference.forward, chunked.forward):
        outputs, final = run(form, state)
        assert outputs.shape == (2, 0, 6, 3)
        assert torch.equal(final, state)


@pytest.mark.parametrize("kind", KINDS)
def test_several_stretches_are_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = KINDS[kind](150)
    state = random_forms.states(form)
    whole, last = chunked.forward(form, state)
    monkeypatch.setattr(chunked, "blocks", lambda length, each: blocking.blocks(length, 1, budget=2))
    parts, final = chunked.forward(form, state)
    assert relative_error(parts, whole) < 1e-12
    assert relative_error(final, last) < 1e-12


@pytest.mark.parametrize("channels", [False, True])
def test_defaults_are_the_key_and_the_written_key(channels: bool) -> None:
    form = awkward(3, 70, channels=channels)
    assert form.write is not None
    spelled = replace(
        form,
        probe=form.k,
        erase=form.write[..., None] * form.k.repeat_interleave(2, dim=2),
    )
    for run in (reference.forward, chunked.forward):
        assert relative_error(run(spelled)[0], run(form)[0]) < 1e-12
    written = replace(form, write=torch.ones_like(form.write))
    for run in (reference.forward, chunked.forward):
        assert relative_error(run(replace(form, write=None))[0], run(written)[0]) < 1e-12


def test_one_decay_a_head_is_the_same_decay_in_every_channel() -> None:
    form = awkward(4, 70, probes=2, erases=6, channels=False)
    spread = replace(form, log_decay=form.log_decay.expand(-1, -1, -1, 5))
    assert relative_error(chunked.forward(spread)[0], chunked.forward(form)[0]) < 1e-12


@pytest.mark.parametrize("channels", [False, True])
def test_a_reset_forgets_everything_before_it(channels: bool) -> None:
    form = awkward(5, 70, channels=channels, lowest=-0.1)
    log_decay = form.log_decay.clone()
    log_decay[:, 40] = -torch.inf
    whole, last = chunked.forward(replace(form, log_decay=log_decay), random_forms.states(form))
    late, final = chunked.forward(random_forms.cut(form, slice(40, None)))
    assert relative_error(whole[:, 40:], late) < 1e-12
    assert relative_error(last, final) < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_operands_are_accumulated_in_float32(kind: str, dtype: torch.dtype) -> None:
    form = KINDS[kind](150, dtype)
    expected, last = reference.forward(as_float64(form))
    got, state = chunked.forward(form)
    assert got.dtype == dtype and state.dtype == torch.float32
    assert relative_error(state, last) < 1e-5
    assert relative_error(got, expected) < torch.finfo(dtype).eps


def differentiable(form: Delta) -> dict[str, Tensor]:
    return {name: x.detach().requires_grad_() for name, x in random_forms.operands(form).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_final_state_are_differentiable_in_every_operand(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "CHUNK", 3)
    form = KINDS[kind](7)
    leaves = differentiable(form)
    assert set(leaves) >= ({"probe", "erase"} if kind == "erasing apart" else {"log_decay", "write"})

    def run(state: Tensor, *operands: Tensor) -> tuple[Tensor, Tensor]:
        return chunked.forward(replace(form, **dict(zip(leaves, operands, strict=True))), state)

    assert torch.autograd.gradcheck(run, (random_forms.states(form).requires_grad_(), *leaves.values()), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_over_several_chunks_are_those_of_the_steps(kind: str) -> None:
    form = KINDS[kind](100)
    direction, state = torch.randn_like(form.v), random_forms.states(form)
    gradients = []
    for run in (chunked.forward, reference.forward):
        leaves = [*differentiable(form).values(), state.clone().requires_grad_()]
        outputs, final = run(replace(form, **dict(zip(random_forms.operands(form), leaves, strict=False))), leaves[-1])
        gradients.append(torch.autograd.grad((outputs * direction).sum() + final.sum(), leaves))
    for got, expected in zip(*gradients, strict=True):
        assert relative_error(got, expected) < 1e-10


@pytest.mark.parametrize("channels", [False, True])
def test_strong_decays_leave_no_nan_in_the_gradients(channels: bool) -> None:
    form = awkward(6, 150, channels=channels, probes=3, erases=3, lowest=-400.0, dtype=torch.float32)
    leaves = differentiable(form)
    outputs, final = chunked.forward(replace(form, **leaves))
    for gradient in torch.autograd.grad(outputs.square().sum() + final.sum(), list(leaves.values())):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_state_reaches_its_own_output_and_every_later_one(kind: str) -> None:
    form = KINDS[kind](40)
    untouched, _ = reference.forward(form)
    replacement = random_forms.states(form)
    seen: list[int] = []

    def edit(t: int, state: Tensor) -> Tensor | None:
        seen.append(t)
        return replacement if t == 11 else None

    edited, final = reference.forward(form, on_state=edit)

    assert seen == list(range(40))
    assert torch.equal(edited[:, :11], untouched[:, :11])
    q = form.q[:, 11].repeat_interleave(2, dim=1)
    assert relative_error(edited[:, 11], torch.einsum("bhkv,bhk->bhv", replacement, q)) < 1e-12
    expected, last = chunked.forward(random_forms.cut(form, slice(12, None)), replacement)
    assert relative_error(edited[:, 12:], expected) < 1e-10
    assert relative_error(final, last) < 1e-10
