"""DeltaNet is the recurrence of its paper."""

import pytest
import torch
from torch import Tensor

from tests.zoo import recurrences
from tests.zoo.random_mixer import EPS, build, tokens, weights
from tests.zoo.recurrences import delta, finished, projected, sigmoid, silu, unit_heads


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("largest", [1, 2])
@torch.no_grad()
def test_deltanet_is_the_papers_recurrence(conv: bool, largest: int) -> None:
    mixer = build("deltanet", n_heads=2, expand_v=1.5, short_conv=conv, double_beta=largest == 2)
    given, x = weights(mixer), tokens()
    q, k, v = (projected(given, name, x, silu) for name in "qkv")

    def kept(token: Tensor, head: int, size: int) -> Tensor:
        return torch.ones(size, dtype=token.dtype)

    def strength(token: Tensor, head: int) -> Tensor:
        return largest * sigmoid(given["b_proj.weight"][head] @ token)

    read = recurrences.run(unit_heads(q, 2), unit_heads(k, 2), v, x, 2, delta(kept, strength))
    expected = finished(given, read, x, None, EPS)
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_a_key_written_twice_with_full_strength_brings_back_the_second_value_only() -> None:
    mixer = build("deltanet", n_heads=1, short_conv=False)
    mixer.b_proj.weight.zero_()
    x = tokens()[:1].repeat(2, 1)
    given = weights(mixer)
    given["b_proj.weight"] = torch.zeros(1, x.shape[1], dtype=x.dtype)
    mixer.options["double_beta"] = True  # sigmoid(0) twice is 1: a write overwrites
    one, two = mixer(x[None, :1])[0, 0], mixer(x[None])[0, 1]
    torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-4)  # but for the 1e-6 in the length of a key
