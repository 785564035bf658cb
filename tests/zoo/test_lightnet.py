"""LightNet's channels are running averages of the values, weighted by exponentials of the keys."""

import pytest
import torch

from tests.zoo.random_mixer import EPS, TIME, WIDTH, build, tokens, weights
from tests.zoo.recurrences import rms_normed, silu
from workbench import kernels
from workbench.errors import InputError
from workbench.forms import DiagonalDecay
from workbench.memory import NoMemory


@pytest.mark.parametrize("size", [0.4, 20.0])
@torch.no_grad()
def test_lightnet_is_the_papers_average(size: float) -> None:
    mixer, heads = build("lightnet", n_heads=2, expand_k=0.5, gate_rank=3), 2
    mixer.k_proj.weight.mul_(size / 0.4)  # sums of exponentials that leave every range, too
    given, x = weights(mixer), tokens()
    q, k, v = (x @ given[f"{name}_proj.weight"].T for name in "qkv")
    read = torch.zeros(TIME, WIDTH, dtype=x.dtype)
    for head in range(heads):
        of_key, of_value = slice(3 * head, 3 * head + 3), slice(6 * head, 6 * head + 6)
        for t in range(TIME):
            share = torch.softmax(k[: t + 1, of_key], dim=0)
            average = share.T @ v[: t + 1, of_value]
            read[t, of_value] = silu(q[t, of_key]) @ average
    gate = silu(x @ given["g_proj.0.weight"].T @ given["g_proj.1.weight"].T)
    rows = [given["o_proj.weight"] @ (rms_normed(row, EPS) * given["g_norm"] * gate[t]) for t, row in enumerate(read)]
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(rows), atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_what_is_written_and_what_is_kept_add_up_to_one() -> None:
    form = build("lightnet").read_in(tokens()[None], None, NoMemory()).form
    assert isinstance(form, DiagonalDecay)
    kept = form.log_decay.exp()
    torch.testing.assert_close((form.k + kept)[:, 1:], torch.ones_like(kept[:, 1:]), atol=1e-12, rtol=1e-12)
    assert torch.equal(form.k[:, 0], torch.ones_like(form.k[:, 0]))


@torch.no_grad()
def test_nobody_reads_a_pad() -> None:
    mask = torch.tensor([[0.0] * 2 + [1.0] * 5])[..., None].double()
    dense = kernels.dense(build("lightnet", n_heads=2, gate_rank=3).read_in(tokens()[None, :7], mask, NoMemory()).form)
    assert dense[..., :2].abs().max() == 0.0
    assert dense[..., 2:, 2].abs().max() > 0.0


def test_gradients_are_those_of_finite_differences() -> None:
    mixer = build("lightnet", n_heads=2, gate_rank=3)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    assert torch.autograd.gradcheck(lambda x: mixer(x, attention_mask=mask)[mask], (x,))


@pytest.mark.parametrize(("options", "message"), [({"rank": 2}, "no option 'rank'"), ({"n_heads": 5}, "5 heads")])
def test_bad_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("lightnet", **options)
