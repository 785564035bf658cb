"""RWKV-4's mixer is what the paper's equations say: sums over the whole past, written here again without any state."""

import pytest
import torch
from torch import Tensor

from workbench import kernels
from workbench.zoo import LayerCache, ZooConfig
from workbench.zoo.rwkv4 import RWKV4, weigh

WIDTH = 7


def softmax_over_the_past(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """Equation 14 for one sequence ``[time, channels]``, as a softmax (torch's is stable in its own way)."""
    out = []
    for t in range(key.shape[0]):
        distance = torch.arange(t - 1, -1, -1, dtype=key.dtype)[:, None]
        scores = torch.cat([key[:t] + distance * log_decay, (bonus + key[t])[None]])
        out.append((scores.softmax(0) * value[: t + 1]).sum(0))
    return torch.stack(out)


def operands(time: int, spread: float = 1.0) -> tuple[Tensor, ...]:
    key, value = spread * torch.randn(2, time, WIDTH).double(), torch.randn(2, time, WIDTH).double()
    return key, value, -torch.rand(WIDTH).double(), torch.randn(WIDTH).double()


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_the_weights_are_the_papers_and_no_exponential_overflows(spread: float) -> None:
    key, value, log_decay, bonus = operands(13, spread)
    out, _ = kernels.forward(weigh(key, value, log_decay, bonus).form)
    for row in range(2):
        expected = softmax_over_the_past(key[row], value[row], log_decay, bonus)
        torch.testing.assert_close(out[row, ..., 0], expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_float32_keeps_its_digits(spread: float) -> None:
    key, value, log_decay, bonus = (x.float() for x in operands(40, spread))
    out, _ = kernels.forward(weigh(key, value, log_decay, bonus).form)
    for row in range(2):
        expected = softmax_over_the_past(key[row].double(), value[row].double(), log_decay.double(), bonus.double())
        torch.testing.assert_close(out[row, ..., 0].double(), expected, atol=1e-4, rtol=1e-4)


def test_rows_of_the_matrix_are_averages() -> None:
    key, value, log_decay, bonus = operands(11)
    rows = kernels.dense(weigh(key, value, log_decay, bonus).form).sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-12, rtol=0)


def test_pads_weigh_nothing_however_small_the_keys_after_them() -> None:
    key, value, log_decay, bonus = operands(9)
    key = key - 1000.0
    mask = torch.ones(2, 9, 1).double()
    mask[1, :4] = 0
    key, value = key.masked_fill(mask == 0, 0.0), value.masked_fill(mask == 0, 0.0)
    padded = weigh(key, value, log_decay, bonus, mask).form
    out, _ = kernels.forward(padded)
    alone, _ = kernels.forward(weigh(key[1:, 4:], value[1:, 4:], log_decay, bonus).form)
    torch.testing.assert_close(out[1:, 4:], alone, atol=1e-12, rtol=1e-10)
    assert out.isfinite().all()
    assert kernels.dense(padded)[1, :, :, :4].tril(-1).abs().max() == 0


def test_gradients_are_those_of_the_softmax() -> None:
    ours = [x.requires_grad_() for x in operands(8)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    weights = torch.randn(2, 8, WIDTH).double()
    (kernels.forward(weigh(*ours).form)[0][..., 0] * weights).sum().backward()
    key, value, log_decay, bonus = theirs
    expected = [softmax_over_the_past(key[row], value[row], log_decay, bonus) for row in range(2)]
    (torch.stack(expected) * weights).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-11, rtol=1e-8)


def mixer() -> RWKV4:
    made = RWKV4(ZooConfig("rwkv4", d_model=WIDTH, n_layers=2), 1)
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made.double()


def test_the_mixer_computes_the_papers_equations() -> None:
    made, x = mixer(), torch.randn(2, 10, WIDTH).double()
    with torch.no_grad():
        actual = made(x)
        for row in range(2):
            before = torch.cat([torch.zeros(1, WIDTH).double(), x[row, :-1]])
            r, k, v = (
                (made.mix[name] * x[row] + (1 - made.mix[name]) * before) @ made.get_parameter(f"{name}_proj.weight").T
                for name in "rkv"
            )
            wkv = softmax_over_the_past(k, v, -made.log_rate.exp(), made.bonus)
            torch.testing.assert_close(actual[row], (r.sigmoid() * wkv) @ made.o_proj.weight.T, atol=1e-12, rtol=1e-9)


def test_calls_of_any_length_go_on_where_the_last_one_ended() -> None:
    made, x, cache = mixer(), 5 * torch.randn(2, 10, WIDTH).double(), LayerCache()
    with torch.no_grad():
        parts = torch.cat([made(part, cache=cache) for part in x.split([1, 4, 1, 3, 1], dim=1)], dim=1)
        torch.testing.assert_close(parts, made(x), atol=1e-12, rtol=1e-10)
