"""Everything a training or a gradient-based patch differentiates, against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import operands, relative_error, states
from workbench import kernels
from workbench.kernels import RecurrentForm, Softmax

TIME = 5


def leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.detach().requires_grad_() for x in tensors)


def recurrent(form: RecurrentForm) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    named = operands(form)

    def run(state: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        outputs, final = kernels.forward(replace(form, **dict(zip(named, given, strict=True))), state)
        assert final is not None
        return outputs, final

    return run, leaves(states(form), *named.values())


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
def test_outputs_and_final_state_are_differentiable_in_every_operand(kind: str) -> None:
    run, given = recurrent(random_forms.RECURRENT[kind](TIME))
    # One random direction instead of every coordinate: the forms have hundreds.
    assert torch.autograd.gradcheck(run, given, fast_mode=True)


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
def test_gradients_are_differentiable_again(kind: str) -> None:
    run, given = recurrent(random_forms.RECURRENT[kind](TIME))
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True)


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
def test_gradients_over_several_chunks_are_those_of_the_reference(kind: str) -> None:
    form = random_forms.RECURRENT[kind](150)
    direction = torch.randn_like(form.v)
    gradients = []
    for backend in ("chunked", "reference"):
        named = operands(form)
        given = leaves(*named.values())
        outputs, state = kernels.forward(replace(form, **dict(zip(named, given, strict=True))), backend=backend)
        assert state is not None
        gradients.append(torch.autograd.grad((outputs * direction).sum() + state.sum(), given))
    for got, expected in zip(*gradients, strict=True):
        assert relative_error(got, expected) < 1e-10


@pytest.mark.parametrize("kind", ["softmax", "softmax with everything"])
def test_softmax_is_differentiable_in_every_operand(kind: str) -> None:
    form = random_forms.ALL[kind](TIME)
    assert isinstance(form, Softmax)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kernels.forward(replace(form, q=q, k=k, v=v))[0]

    assert torch.autograd.gradcheck(run, leaves(form.q, form.k, form.v), fast_mode=True)

    def weights(q: Tensor, k: Tensor) -> Tensor:
        return kernels.pattern(replace(form, q=q, k=k))

    assert torch.autograd.gradcheck(weights, leaves(form.q, form.k), fast_mode=True)


def test_sinks_are_differentiable() -> None:
    form = random_forms.softmax_with_everything(TIME)
    assert form.sinks is not None and form.bias is not None

    def run(sinks: Tensor, bias: Tensor) -> Tensor:
        return kernels.forward(replace(form, sinks=sinks, bias=bias))[0]

    assert torch.autograd.gradcheck(run, leaves(form.sinks, form.bias), fast_mode=True)


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
def test_strong_decays_leave_no_nan_in_the_gradients(kind: str) -> None:
    form = random_forms.RECURRENT[kind](150, torch.float32, mean=50.0)
    named = operands(form)
    given = leaves(*named.values())
    form = replace(form, **dict(zip(named, given, strict=True)))
    read = kernels.forward(form, backend="chunked")[0].square().sum()
    read = read + kernels.dense(form).sum() + kernels.row_energy(form).sum()
    for gradient in torch.autograd.grad(read, given):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kind", random_forms.RECURRENT)
@pytest.mark.parametrize(
    "read",
    [kernels.row_sum, kernels.column_sum, kernels.row_energy, kernels.energy_distance, kernels.dense],
    ids=lambda read: read.__name__,
)
def test_what_is_read_from_the_matrix_is_differentiable(kind: str, read: Callable[..., Tensor]) -> None:
    form = random_forms.RECURRENT[kind](TIME)
    named = {name: operand for name, operand in operands(form).items() if name != "v"}

    def run(*given: Tensor) -> Tensor:
        return read(replace(form, **dict(zip(named, given, strict=True))))

    assert torch.autograd.gradcheck(run, leaves(*named.values()), fast_mode=True)
