"""HGRN2 is the recurrence of its paper; its lower bounds grow with depth."""

import pytest
import torch
from torch import Tensor

from tests.zoo import recurrences
from tests.zoo.random_mixer import EPS, WIDTH, build, tokens, weights
from tests.zoo.recurrences import decayed, projected, rms_normed, sigmoid, silu
from workbench.zoo import ZooConfig, registry


@pytest.mark.parametrize("layer", [0, 2])
@torch.no_grad()
def test_hgrn2_is_the_papers_recurrence(layer: int) -> None:
    mixer = build("hgrn2", layer=layer, n_heads=2, expand_k=0.5, expand_v=1.5)
    given, x = weights(mixer), tokens()
    bound = sigmoid(given["lower_bound"]) if layer else torch.zeros(6, dtype=x.dtype)
    q, values = projected(given, "q", x, silu), projected(given, "i", x, lambda y: y)

    def forget(token: Tensor) -> Tensor:
        return bound + (1 - bound) * sigmoid(given["f_proj.weight"] @ token)

    def decay(token: Tensor, head: int, size: int) -> Tensor:
        return forget(token)[head * size : (head + 1) * size]

    keys = torch.stack([1 - forget(token) for token in x])
    read = recurrences.run(q, keys, values, x, 2, decayed(decay))
    expected = torch.stack(
        [given["o_proj.weight"] @ (rms_normed(row.flatten(), EPS) * given["o_norm"]) for row in read]
    )
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


def test_lower_bounds_start_at_equal_shares_of_the_depth() -> None:
    bounds = []
    for layer in range(4):
        mixer = registry.mixer("hgrn2")(ZooConfig("hgrn2", d_model=WIDTH, n_layers=4), layer)
        bounds.append(torch.sigmoid(mixer.lower_bound).mean().item() if mixer.bounded else 0.0)
    assert bounds == pytest.approx([0, 0.25, 0.5, 0.75])


def test_the_mimetic_start_reads_where_keys_are_large() -> None:
    mixer = registry.mixer("hgrn2")(ZooConfig("hgrn2", d_model=WIDTH, mixer_options={"initialisation": "mimetic"}), 0)
    mixer.initialise()
    assert torch.equal(mixer.q_proj.weight, -mixer.f_proj.weight)
