"""Based is softmax attention with the exponential's Taylor series in its place."""

import pytest
import torch

from tests.zoo.random_mixer import TIME, WIDTH, build, tokens, weights
from workbench import kernels
from workbench.errors import InputError
from workbench.memory import NoMemory
from workbench.zoo.based import taylor_features


def test_features_multiply_to_the_series() -> None:
    q, k = torch.randn(2, 30, 5, dtype=torch.float64)
    score = (q * k).sum(-1) / 5**0.5
    found = (taylor_features(q) * taylor_features(k)).sum(-1)
    torch.testing.assert_close(found, 1 + score + score**2 / 2, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_based_is_a_weighted_average_of_the_values_so_far() -> None:
    mixer, heads = build("based", n_heads=3, feature_dim=4), 3
    given, x = weights(mixer), tokens()
    q, k, v = (x @ given[f"{name}_proj.weight"].T for name in "qkv")
    expected = torch.zeros(TIME, WIDTH, dtype=x.dtype)
    for head in range(heads):
        of_key, of_value = slice(4 * head, 4 * head + 4), slice(4 * head, 4 * head + 4)
        for t in range(TIME):
            score = torch.stack([(q[t, of_key] * k[s, of_key]).sum() / 2 for s in range(t + 1)])
            weight = 1 + score + score**2 / 2
            expected[t, of_value] = (weight[:, None] * v[: t + 1, of_value]).sum(0) / weight.sum()
    torch.testing.assert_close(mixer(x[None])[0], expected @ given["o_proj.weight"].T, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_nobody_reads_a_pad() -> None:
    mask = torch.tensor([[0.0] * 2 + [1.0] * 5])[..., None].double()
    dense = kernels.dense(build("based", n_heads=2, feature_dim=3).read_in(tokens()[None, :7], mask, NoMemory()).form)
    assert dense[..., :2].abs().max() == 0.0
    assert dense[..., 2:, 2].abs().max() > 0.0


def test_gradients_are_those_of_finite_differences() -> None:
    mixer = build("based", n_heads=2, feature_dim=2)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    assert torch.autograd.gradcheck(lambda x: mixer(x, attention_mask=mask)[mask], (x,))


@pytest.mark.parametrize(("options", "message"), [({"heads": 2}, "no option 'heads'"), ({"n_heads": 5}, "5 heads")])
def test_bad_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("based", **options)
