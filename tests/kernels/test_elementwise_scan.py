"""The fused scan of cells that hold one number computes the recurrence written here again, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from tests.kernels.random_forms import cells
from workbench import kernels
from workbench.kernels.diagonal_decay import cells as room
from workbench.kernels.forms import DiagonalDecay
from workbench.kernels.native import elementwise_scan as native

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler: the fused scan was not built")
few = settings(max_examples=25, deadline=None)
DECAYS = ("mild", "none", "harsh", "resets")


def operands(batch: int, time: int, channels: int, decays: str = "mild") -> tuple[Tensor, Tensor, Tensor]:
    log_decay = -torch.rand(batch, time, channels) * {"mild": 3.0, "none": 0.0, "harsh": 50.0, "resets": 1.0}[decays]
    if decays == "resets":
        log_decay[torch.rand(batch, time, channels) < 0.2] = -torch.inf
    return log_decay, torch.randn(batch, time, channels), torch.randn(batch, channels)


def recurrence(log_decay: Tensor, update: Tensor, state: Tensor) -> Tensor:
    states = [state := log_decay[:, t].exp() * state + update[:, t] for t in range(update.shape[1])]
    return torch.stack(states, dim=1) if states else update


def close(ours: Tensor, oracle: Tensor) -> bool:
    largest = float(oracle.detach().abs().max()) if oracle.numel() else 0.0
    return torch.allclose(ours.double(), oracle, atol=2e-6 * (1 + largest), rtol=0)


# Spans are of 256 channels, vectors of 16.
@few
@given(
    some.integers(0, 2**32), some.integers(1, 3), some.sampled_from([0, 1, 2, 37]),
    some.sampled_from([1, 15, 16, 33, 255, 257, 600]), some.sampled_from(DECAYS),
)  # fmt: skip
def test_states_and_gradients_match_the_recurrence(
    seed: int, batch: int, time: int, channels: int, decays: str
) -> None:
    torch.manual_seed(seed)
    ours = [x.requires_grad_() for x in operands(batch, time, channels, decays)]
    theirs = [x.detach().double().requires_grad_() for x in ours]
    states = native.elementwise_scan(*ours, logarithms=True)
    oracle = recurrence(*theirs)
    assert states.shape == (batch, time, channels) and close(states, oracle)
    if not time:
        return
    weights = torch.randn_like(states)
    gradients = torch.autograd.grad((states * weights).sum(), ours)
    expected = torch.autograd.grad((oracle * weights).sum(), theirs)
    assert all(close(a, b) for a, b in zip(gradients, expected, strict=True))


def test_factors_are_taken_as_they_are_negative_ones_included() -> None:
    torch.manual_seed(0)
    factor, update = 2 * torch.rand(2, 9, 20) - 1, torch.randn(2, 9, 20)
    factor.requires_grad_()
    states = native.elementwise_scan(factor, update)
    state, oracle, wide = torch.zeros(2, 20).double(), [], factor.detach().double().requires_grad_()
    for t in range(9):
        oracle.append(state := wide[:, t] * state + update[:, t])
    assert close(states, torch.stack(oracle, 1))
    (gradient,) = torch.autograd.grad(states.square().sum(), factor)
    (expected,) = torch.autograd.grad(torch.stack(oracle, 1).square().sum(), wide)
    assert close(gradient, expected)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_a_gradient_of_some_operands_only_is_that_of_all(wanted: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    every = [x.requires_grad_() for x in operands(2, 7, 19)]
    all_gradients = torch.autograd.grad(native.elementwise_scan(*every, logarithms=True).square().sum(), every)
    some_only = [x.detach().requires_grad_(place in wanted) for place, x in enumerate(every)]
    native.elementwise_scan(*some_only, logarithms=True).square().sum().backward()
    for place, x in enumerate(some_only):
        assert (x.grad is None) if place not in wanted else torch.equal(x.grad, all_gradients[place])


def test_second_derivatives_match_those_of_the_recurrence() -> None:
    torch.manual_seed(0)
    ours = [x.requires_grad_() for x in operands(2, 6, 5)]
    theirs = [x.detach().double().requires_grad_() for x in ours]

    def curvature(states: Tensor, given: list[Tensor]) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(states.pow(3).sum(), given, create_graph=True)
        return torch.autograd.grad(sum(x.square().sum() for x in first), given)

    strided = [x.mT.contiguous().mT for x in ours]
    second = curvature(native.elementwise_scan(*strided, logarithms=True), ours)
    expected = curvature(recurrence(*theirs), theirs)
    for a, b in zip(second, expected, strict=True):
        assert torch.allclose(a.double(), b, rtol=1e-4, atol=1e-3 * float(b.abs().amax()))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    given = [x.requires_grad_() for x in operands(2, 40, 600)]
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            states = native.elementwise_scan(*given, logarithms=True)
            results.append((states, *torch.autograd.grad(states.square().sum(), given)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_a_nan_reaches_its_own_channel_from_its_own_step_on_and_nothing_else() -> None:
    log_decay, update, state = operands(2, 9, 40)
    log_decay[0, 3, 17] = torch.nan
    update[1, 5, 39] = torch.nan
    states = native.elementwise_scan(log_decay, update, state, logarithms=True)
    expected = torch.zeros(2, 9, 40, dtype=torch.bool)
    expected[0, 3:, 17] = expected[1, 5:, 39] = True
    assert torch.equal(states.isnan(), expected)


def test_a_reset_forgets_even_a_huge_state() -> None:
    log_decay, update, state = operands(1, 4, 3)
    update[0, 1, 0] = 3e38
    log_decay[0, 2] = -torch.inf
    states = native.elementwise_scan(log_decay, update, state, logarithms=True)
    assert torch.equal(states[:, 2], update[:, 2])


@few
@given(some.integers(0, 2**32), some.sampled_from([0, 1, 7]), some.booleans(), some.booleans())
def test_forms_of_single_numbers_match_the_reference(seed: int, time: int, rated: bool, started: bool) -> None:
    torch.manual_seed(seed)
    wide = cells(time)
    if rated:
        wide = DiagonalDecay(wide.q[:, :, :2], wide.k[:, :, :2], wide.v, wide.log_decay, torch.rand(6, 1).double())
    start = torch.randn(2, 6, 1, 1) if started else None
    narrow = DiagonalDecay(**{name: None if x is None else x.float() for name, x in vars(wide).items()})
    z, final = room.forward(narrow, start)
    expected, last = kernels.forward(wide, None if start is None else start.double(), backend="reference")
    assert z.shape == expected.shape and close(z, expected) if time else z.numel() == 0
    assert final.shape == last.shape and close(final, last)


def test_strided_and_expanded_operands_are_read_where_they_lie() -> None:
    torch.manual_seed(0)
    log_decay, update, state = operands(3, 8, 20)
    plain = native.elementwise_scan(log_decay, update, state, logarithms=True)
    strided = [torch.stack([x, x], dim=-1)[..., 1] for x in (log_decay, update, state)]
    assert torch.equal(native.elementwise_scan(*strided, logarithms=True), plain)
    one = log_decay[:1, :1, :1].expand(3, 8, 20)
    assert torch.equal(
        native.elementwise_scan(one, update, state, True), native.elementwise_scan(one.clone(), update, state, True)
    )


def test_states_at_chosen_steps_are_those_the_reference_shows() -> None:
    form = cells(9, torch.float32)
    shown: dict[int, Tensor] = {}
    kernels.iterate(form, on_state=lambda step, state: shown.__setitem__(step, state.clone()))
    chosen = room.states(form, [8, 0, 3])
    for place, step in enumerate([8, 0, 3]):
        assert torch.allclose(chosen[:, place], shown[step], atol=1e-6)


def test_half_precision_operands_are_read_as_float32() -> None:
    form = cells(12, torch.bfloat16)
    z, final = room.forward(form)
    wide = DiagonalDecay(**{name: None if x is None else x.double() for name, x in vars(form).items()})
    expected, last = kernels.forward(wide, backend="reference")
    assert z.dtype == torch.bfloat16 and final.dtype == torch.float32
    assert torch.equal(z, expected.bfloat16()) or (z.double() - expected).abs().max() < 0.01 * expected.abs().max()
    assert close(final, last)


def test_bad_operands_are_named_in_a_sentence() -> None:
    log_decay, update, _ = operands(2, 3, 4)
    with pytest.raises(ValueError, match="takes float32"):
        native.elementwise_scan(log_decay.double(), update)
    with pytest.raises(ValueError, match="one number"):
        room.forward(DiagonalDecay(torch.ones(1, 2, 1, 2), torch.ones(1, 2, 1, 2), torch.ones(1, 2, 1, 1),
                                   torch.zeros(1, 2, 1, 2)))  # fmt: skip
