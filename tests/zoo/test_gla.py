"""GLA is the recurrence of its paper, and starts where its initialisation says."""

import pytest
import torch

from tests.zoo import recurrences
from tests.zoo.random_mixer import EPS, WIDTH, build, tokens, weights
from tests.zoo.recurrences import decayed, finished, projected, sigmoid, silu
from workbench.errors import InputError
from workbench.zoo import ZooConfig, registry


@pytest.mark.parametrize("conv", [False, True])
@torch.no_grad()
def test_gla_is_the_papers_recurrence(conv: bool) -> None:
    mixer = build("gla", n_heads=2, expand_k=0.5, expand_v=1.5, gate_rank=3, short_conv=conv, conv_bias=True)
    given, x = weights(mixer), tokens()
    activation = silu if conv else lambda y: y
    q, k, v = (projected(given, name, x, activation) for name in "qkv")

    def decay(token: torch.Tensor, head: int, size: int) -> torch.Tensor:
        logits = given["gk_proj.1.weight"] @ (given["gk_proj.0.weight"] @ token) + given["gk_proj.1.bias"]
        return sigmoid(logits[head * size : (head + 1) * size]) ** (1 / 16)

    read = recurrences.run(q, k, v, x, 2, decayed(decay))
    expected = finished(given, read, x, lambda token: silu(given["g_proj.weight"] @ token), EPS)
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


def test_the_mimetic_start_reads_where_it_writes_and_forgets_slowly() -> None:
    mixer = registry.mixer("gla")(ZooConfig("gla", d_model=64, mixer_options={"initialisation": "mimetic"}), 0)
    mixer.initialise()
    assert torch.equal(mixer.q_proj.weight, mixer.k_proj.weight)
    kept = torch.sigmoid(mixer.gk_proj[1].bias.double()) ** (1 / 16)
    assert (kept.log().neg().reciprocal().aminmax().min - 100).abs() < 1
    assert (kept.log().neg().reciprocal().aminmax().max - 1000).abs() < 10


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(InputError, match="'expand_q'"):
        registry.mixer("gla")(ZooConfig("gla", d_model=WIDTH, mixer_options={"expand_q": 2}), 0)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InputError, match="5 heads do not divide 6 key and 12 value channels"):
        registry.mixer("gla")(ZooConfig("gla", d_model=WIDTH, mixer_options={"n_heads": 5}), 0)


def test_an_unknown_initialisation_is_refused() -> None:
    with pytest.raises(InputError, match="'zero'"):
        registry.mixer("gla")(ZooConfig("gla", d_model=WIDTH, mixer_options={"initialisation": "zero"}), 0)
