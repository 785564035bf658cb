"""S4's convolution is its state-space system, run one step at a time; its start is HiPPO-LegS."""

import math

import pytest
import torch
from torch import Tensor

from tests.zoo.random_mixer import TIME, WIDTH, build, tokens, weights
from tests.zoo.recurrences import Weights
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.zoo import ZooConfig, registry
from workbench.zoo.model import ZooModel
from workbench.zoo.s4 import hippo


def as_complex(pair: Tensor) -> Tensor:
    return pair[..., 0] + 1j * pair[..., 1]


def pairs_of(x: Tensor) -> Tensor:
    return torch.cat([x, x.conj()])


def stepped(given: Weights, channel: int, u: Tensor, low_rank: bool) -> Tensor:
    """One channel of the system, a step a token."""
    dt = torch.exp(given["log_dt"][channel])
    poles = pairs_of(-torch.exp(given["log_real"][channel]) + 1j * given["imaginary"][channel])
    c = pairs_of(as_complex(given["C"][channel]))
    if low_rank:
        p, b = (pairs_of(as_complex(given[name][channel])) for name in "PB")
        a = torch.diag(poles) - torch.outer(p, p.conj())
        one = torch.eye(len(poles), dtype=poles.dtype)
        back = torch.linalg.inv(one - dt / 2 * a)
        matrix, source = back @ (one + dt / 2 * a), back @ (dt * b)
    else:
        matrix = torch.diag(torch.exp(dt * poles))
        source = (torch.exp(dt * poles) - 1) / poles
    state, read = torch.zeros_like(poles), []
    for value in u:
        state = matrix @ state + source * value
        read.append((c * state).sum().real)
    return torch.stack(read)


@pytest.mark.parametrize("kind", ["s4", "s4d"])
@torch.no_grad()
def test_s4_is_the_system_run_step_by_step(kind: str) -> None:
    mixer = build("s4", kind=kind, state_size=6, lags=TIME)
    given, x = weights(mixer), tokens()
    rows = torch.stack([stepped(given, c, x[:, c], kind == "s4") + given["D"][c] * x[:, c] for c in range(WIDTH)], 1)
    active = 0.5 * rows * (1 + torch.erf(rows / math.sqrt(2)))
    expected = active @ given["o_proj.weight"].T + given["o_proj.bias"]
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", ["s4", "s4d"])
@torch.no_grad()
def test_what_lies_further_back_than_the_filter_is_not_seen(kind: str) -> None:
    mixer, x = build("s4", kind=kind, state_size=4, lags=9), tokens()
    changed = x.clone()
    changed[20] += 1.0
    difference = (mixer(changed[None]) - mixer(x[None]))[0].abs().amax(-1)
    assert difference[20:29].min() > 1e-9
    assert max(difference[:20].max(), difference[29:].max()) < 1e-9 * difference.max()


def test_the_start_is_hippo_legs() -> None:
    """The pairs' poles, P and B are the matrix in another basis: ``B* (l I - A)^-1 B`` is the same at every l."""
    size = 8
    imaginary, p, b = hippo(size)
    dense = torch.zeros(size, size, dtype=torch.complex128)
    for i in range(size):
        for j in range(i + 1):
            dense[i, j] = -(i + 1.0) if i == j else -math.sqrt((2 * i + 1) * (2 * j + 1))
    source = torch.tensor([math.sqrt(2 * i + 1) for i in range(size)], dtype=torch.complex128)
    ours = torch.diag(pairs_of(-0.5 + 1j * imaginary)) - torch.outer(pairs_of(p), pairs_of(p).conj())
    one = torch.eye(size, dtype=torch.complex128)
    for point in (0.3, 2.0, 1j, 0.1 + 5j):
        found = pairs_of(b).conj() @ torch.linalg.solve(point * one - ours, pairs_of(b))
        expected = source @ torch.linalg.solve(point * one - dense, source)
        assert abs(found - expected) < 1e-9 * abs(expected)


@pytest.mark.parametrize("kind", ["s4", "s4d"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    mixer = build("s4", kind=kind, state_size=4, lags=4)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])

    def run(x: Tensor, imaginary: Tensor, log_dt: Tensor) -> Tensor:
        given = {"imaginary": imaginary, "log_dt": log_dt}
        out: Tensor = torch.func.functional_call(mixer, given, (x,), {"attention_mask": mask})
        return out[mask]

    moved = [mixer.get_parameter(name).detach().clone().requires_grad_() for name in ("imaginary", "log_dt")]
    assert torch.autograd.gradcheck(run, (x, *moved))


@pytest.mark.parametrize("kind", ["s4", "s4d"])
def test_a_model_starts_finite_and_remembers(kind: str) -> None:
    mixer = registry.mixer("s4")(ZooConfig("s4", d_model=WIDTH, mixer_options={"kind": kind}), 0)
    kernel = mixer.kernel()
    assert kernel.shape == (WIDTH, 256)
    assert kernel.isfinite().all()
    assert kernel[:, 100:].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 2}, "no option 'width'"), ({"kind": "s5"}, "neither 's4'"), ({"state_size": 3}, "must be even")],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("s4", **options)


def test_a_pattern_can_be_edited_in_place() -> None:
    """A Toeplitz matrix repeats its numbers, so a view of them could not be written to."""
    torch.manual_seed(0)
    model = HookedModel(ZooModel(ZooConfig("s4", vocab_size=30, d_model=12, n_layers=1, d_mlp=8)))
    name, text = "blocks.0.mixer.hook_pattern", torch.arange(9)[None]

    def in_place(pattern: Tensor, hook: object) -> None:
        pattern[:, :, 7, 3] = 0.0

    def anew(pattern: Tensor, hook: object) -> Tensor:
        changed = pattern.clone()
        changed[:, :, 7, 3] = 0.0
        return changed

    with torch.no_grad():
        found = model.run_with_hooks(text, fwd_hooks=[(name, in_place)])
        expected = model.run_with_hooks(text, fwd_hooks=[(name, anew)])
        plain = model(text)
    assert torch.equal(found, expected)
    torch.testing.assert_close(found[:, 8], plain[:, 8], atol=1e-5, rtol=1e-5)
    assert (found - plain)[:, 7].abs().max() > 1e-4
