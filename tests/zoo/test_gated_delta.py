"""Gated DeltaNet is the recurrence of its paper, and starts where its initialisation says."""

import pytest
import torch
from torch import Tensor

from tests.zoo import recurrences
from tests.zoo.random_mixer import EPS, build, tokens, weights
from tests.zoo.recurrences import delta, finished, projected, sigmoid, silu, softplus, unit_heads
from workbench.zoo import ZooConfig, registry


@torch.no_grad()
def test_gated_delta_is_the_papers_recurrence() -> None:
    mixer = build("gated_delta", n_heads=3, conv_bias=True, conv_size=3)
    given, x = weights(mixer), tokens()
    q, k, v = (projected(given, name, x, silu) for name in "qkv")

    def decay(token: Tensor, head: int, size: int) -> Tensor:
        step = softplus(given["a_proj.weight"][head] @ token + given["dt_bias"][head])
        return torch.exp(-torch.exp(given["A_log"][head]) * step).expand(size)

    def strength(token: Tensor, head: int) -> Tensor:
        return sigmoid(given["b_proj.weight"][head] @ token)

    read = recurrences.run(unit_heads(q, 3), unit_heads(k, 3), v, x, 3, delta(decay, strength))
    expected = finished(given, read, x, lambda token: silu(given["g_proj.weight"] @ token), EPS)
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


def test_the_mimetic_start_finds_a_token_by_the_one_before_it_and_forgets_slowly() -> None:
    options = {"initialisation": "mimetic", "n_heads": 4}
    mixer = registry.mixer("gated_delta")(ZooConfig("gated_delta", d_model=64, mixer_options=options), 0)
    mixer.initialise()
    assert torch.equal(mixer.q_proj.weight, mixer.k_proj.weight)
    for name, tap in (("q", -1), ("k", -2), ("v", -1)):
        taps = mixer.get_submodule(f"{name}_conv1d").weight[:, 0]
        assert (taps.abs().argmax(-1) == taps.shape[-1] + tap).all()
    rate = mixer.A_log.exp() * torch.nn.functional.softplus(mixer.dt_bias)
    assert (1 / rate).tolist() == pytest.approx([100, 215.4, 464.2, 1000], rel=1e-3)
