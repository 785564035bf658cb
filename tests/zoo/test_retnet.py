"""RetNet is the recurrence of its paper, wherever its positions start."""

import cmath

import pytest
import torch
from torch import Tensor

from tests.zoo import recurrences
from tests.zoo.random_mixer import EPS, WIDTH, build, tokens, weights
from tests.zoo.recurrences import decayed, finished, projected, silu
from workbench.errors import InputError
from workbench.zoo import ZooConfig, registry
from workbench.zoo.cache import LayerCache


def turned(flat: Tensor, heads: int) -> Tensor:
    """Each pair of channels as one complex number, turned by its position: ``x exp(i n theta)`` (equation 3)."""
    rows = []
    for position, row in enumerate(flat):
        parts = []
        for head in row.unflatten(0, (heads, -1)):
            half = len(head) // 2
            numbers = [
                complex(head[i], head[i + half]) * cmath.exp(1j * position * 10_000 ** (-2 * i / len(head)))
                for i in range(half)
            ]
            parts += [n.real for n in numbers] + [n.imag for n in numbers]
        rows.append(torch.tensor(parts, dtype=flat.dtype))
    return torch.stack(rows)


@torch.no_grad()
def test_retnet_is_the_papers_recurrence() -> None:
    mixer = build("retnet", n_heads=3)
    given, x = weights(mixer), tokens()
    q, k, v = (projected(given, name, x, lambda y: y) for name in "qkv")

    def decay(token: Tensor, head: int, size: int) -> Tensor:
        return torch.full((size,), 1 - 2.0 ** (-5 - head), dtype=token.dtype)

    read = recurrences.run(turned(q, 3), turned(k, 3), v, x, 3, decayed(decay))
    expected = finished(given, read, x, lambda token: silu(given["g_proj.weight"] @ token), EPS)
    torch.testing.assert_close(mixer(x[None])[0], expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_only_differences_of_positions_matter() -> None:
    mixer, x = build("retnet", n_heads=2), tokens()[None]
    late = torch.arange(x.shape[1])[None] + 5000
    torch.testing.assert_close(mixer(x, position_ids=late), mixer(x), atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_positions_are_counted_on_from_call_to_call() -> None:
    mixer, x, cache = build("retnet", n_heads=2), tokens()[None], LayerCache()
    parts = [mixer(part, cache=cache) for part in x.split([30, 1, 39], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), mixer(x), atol=1e-10, rtol=1e-10)


def test_an_odd_number_of_key_channels_is_refused() -> None:
    with pytest.raises(InputError, match="3 a head cannot be paired"):
        registry.mixer("retnet")(ZooConfig("retnet", d_model=WIDTH, mixer_options={"n_heads": 4}), 0)
