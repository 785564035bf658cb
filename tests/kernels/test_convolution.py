"""The fused short convolution is PyTorch's own on padded and transposed input, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor
from torch.nn import functional as F

from workbench.kernels.native import convolution as native

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler: the fused convolution was not built")
few = settings(max_examples=25, deadline=None)


def operands(batch: int, time: int, channels: int, taps: int, before: int) -> list[Tensor]:
    shapes = [(batch, time, channels), (channels, taps), (channels,), (batch, before, channels)]
    return [torch.randn(shape) for shape in shapes]


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor, silu: bool) -> Tensor:
    every = torch.cat([past, x], dim=1)
    every = F.pad(every, (0, 0, max(0, weight.shape[1] - 1 - past.shape[1]), 0))
    every = every[:, every.shape[1] - x.shape[1] - (weight.shape[1] - 1) :]
    y = F.conv1d(every.mT, weight[:, None], bias, groups=weight.shape[0]).mT
    return y * torch.sigmoid(y) if silu else y


def close(ours: Tensor, oracle: Tensor, tolerance: float = 2e-6) -> bool:
    largest = float(oracle.detach().abs().max()) if oracle.numel() else 0.0
    return torch.allclose(ours.double(), oracle, atol=tolerance * (1 + largest), rtol=0)


# Spans are of 256 channels, vectors of 16; four taps are compiled on their own.
@few
@given(
    some.integers(0, 2**32), some.integers(1, 2), some.sampled_from([1, 2, 3, 40]),
    some.sampled_from([1, 15, 16, 33, 256, 300]), some.sampled_from([1, 2, 4, 11]), some.integers(0, 12),
    some.booleans(), some.booleans(),
)  # fmt: skip
def test_outputs_and_every_gradient_are_those_of_the_plain_convolution(
    seed: int, batch: int, time: int, channels: int, taps: int, before: int, silu: bool, biased: bool
) -> None:
    torch.manual_seed(seed)
    x, weight, bias, past = (t.requires_grad_() for t in operands(batch, time, channels, taps, before))
    ours = [x, weight, bias, past] if biased else [x, weight, past]
    theirs = [t.detach().double().requires_grad_() for t in ours]
    y = native.causal_convolution(x, weight, bias if biased else None, past, silu)
    oracle = convolution(*theirs[:2], theirs[2] if biased else None, theirs[-1], silu)
    assert y.shape == oracle.shape and close(y, oracle)
    weights = torch.randn_like(oracle)
    got = torch.autograd.grad((y * weights.float()).sum(), ours)
    expected = torch.autograd.grad((oracle * weights).sum(), theirs, materialize_grads=True)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape and close(a, b, 5e-6)


def test_pieces_that_hand_on_their_last_inputs_make_the_whole() -> None:
    x, weight, bias, _ = operands(2, 23, 20, 4, 0)
    whole = native.causal_convolution(x, weight, bias, silu=True)
    pieces, start = [], 0
    for end in (1, 2, 11, 23):
        pieces.append(native.causal_convolution(x[:, start:end], weight, bias, x[:, :start], silu=True))
        start = end
    assert torch.equal(torch.cat(pieces, dim=1), whole)


def test_no_steps_give_no_outputs() -> None:
    x, weight, bias, past = operands(2, 0, 5, 4, 3)
    assert native.causal_convolution(x, weight, bias, past).shape == (2, 0, 5)


def test_strided_and_expanded_operands_are_read_where_they_lie() -> None:
    x, weight, bias, past = operands(2, 9, 20, 4, 3)
    plain = native.causal_convolution(x, weight, bias, past, True)
    beside = torch.cat([x, x], dim=-1)[..., 20:]
    turned = x.mT.contiguous().mT
    for other in (beside, turned):
        assert torch.equal(native.causal_convolution(other, weight.mT.contiguous().mT, bias, past, True), plain)
    constant = x[:1, :1].expand(2, 9, 20)
    expected = native.causal_convolution(constant.clone(), weight, bias, past)
    assert torch.equal(native.causal_convolution(constant, weight, bias, past), expected)


def test_second_derivatives_are_those_of_the_plain_convolution() -> None:
    ours = [t.requires_grad_() for t in operands(2, 6, 5, 4, 2)]
    theirs = [t.detach().double().requires_grad_() for t in ours]

    def curvature(y: Tensor, given: list[Tensor]) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(y.pow(3).sum(), given, create_graph=True)
        return torch.autograd.grad(sum(t.square().sum() for t in first), given)

    x, weight, bias, past = ours
    second = curvature(native.causal_convolution(x.mT.contiguous().mT, weight, bias, past, True), ours)
    for a, b in zip(second, curvature(convolution(*theirs, silu=True), theirs), strict=True):
        assert close(a, b, 1e-4)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    given = [t.requires_grad_() for t in operands(2, 30, 700, 4, 3)]
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = native.causal_convolution(*given, silu=True)
            results.append((y, *torch.autograd.grad(y.square().sum(), given)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_a_nan_reaches_the_outputs_that_read_it_and_nothing_else() -> None:
    x, weight, bias, past = operands(2, 12, 20, 4, 3)
    x[1, 5, 18] = past[0, 2, 3] = torch.nan
    y = native.causal_convolution(x, weight, bias, past, silu=True)
    expected = torch.zeros(2, 12, 20, dtype=torch.bool)
    expected[1, 5:9, 18] = expected[0, :3, 3] = True
    assert torch.equal(y.isnan(), expected)


def test_large_values_saturate_the_activation_and_do_not_overflow() -> None:
    x = torch.tensor([-1e30, -200.0, -88.0, 88.0, 200.0, 1e30])[None, None]
    y = native.causal_convolution(x, torch.ones(6, 1), silu=True)
    assert torch.allclose(y, F.silu(x.double()).float(), atol=1e-30)


def test_other_dtypes_are_refused_in_a_sentence() -> None:
    x, weight, bias, past = operands(1, 3, 4, 4, 0)
    assert not native.fits(x.double()) and native.fits(x, weight, bias, past, None)
    with pytest.raises(ValueError, match="takes float32"):
        native.causal_convolution(x.double(), weight)
