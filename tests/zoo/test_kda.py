"""KDA is the recurrence of its report, and starts where its initialisation says."""

import pytest
import torch
from torch import Tensor

from tests.zoo import recurrences
from tests.zoo.random_mixer import EPS, build, tokens, weights
from tests.zoo.recurrences import delta, finished, projected, sigmoid, silu, softplus, unit_heads
from workbench.zoo import ZooConfig, registry


@torch.no_grad()
def test_kda_is_the_reports_recurrence() -> None:
    mixer = build("kda", n_heads=2, expand_v=1.5)
    given, x = weights(mixer), tokens()
    q, k, v = (projected(given, name, x, silu) for name in "qkv")

    def decay(token: Tensor, head: int, size: int) -> Tensor:
        channels = slice(head * size, (head + 1) * size)
        logits = given["f_proj.1.weight"] @ (given["f_proj.0.weight"] @ token) + given["dt_bias"]
        return torch.exp(-torch.exp(given["A_log"][head]) * softplus(logits[channels]))

    def strength(token: Tensor, head: int) -> Tensor:
        return sigmoid(given["b_proj.weight"][head] @ token)

    def gate(token: Tensor) -> Tensor:
        return sigmoid(given["g_proj.1.weight"] @ (given["g_proj.0.weight"] @ token) + given["g_proj.1.bias"])

    read = recurrences.run(unit_heads(q, 2), unit_heads(k, 2), v, x, 2, delta(decay, strength))
    expected = finished(given, read, x, gate, EPS)
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


def test_the_mimetic_start_forgets_slowly() -> None:
    options = {"initialisation": "mimetic", "n_heads": 2}
    mixer = registry.mixer("kda")(ZooConfig("kda", d_model=32, mixer_options=options), 0)
    mixer.initialise()
    step = torch.nn.functional.softplus(mixer.dt_bias.double()).view(2, -1)
    lasting = 1 / (mixer.A_log.double().exp()[:, None] * step)
    assert lasting.min().item() == pytest.approx(100, rel=1e-3)
    assert lasting.max().item() == pytest.approx(1000, rel=1e-3)
