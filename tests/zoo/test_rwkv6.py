"""RWKV-6's mixer is what the paper's equations say: sums over the past, written here again without any state."""

import torch
from torch import Tensor

from workbench.zoo import LayerCache, ZooConfig
from workbench.zoo.rwkv6 import MIXED, RWKV6

WIDTH, HEADS, SIZE = 15, 3, 5


def mixer() -> RWKV6:
    options = {"head_dim": SIZE, "mix_rank": 4, "rank": 3}
    made = RWKV6(ZooConfig("rwkv6", d_model=WIDTH, n_layers=3, mixer_options=options), 1)
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made.double()


def paper(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Equations 14 to 19 for one sequence ``[time, model]``."""
    before = torch.cat([torch.zeros(1, WIDTH).double(), x[:-1]])

    def ddlerp(name: str) -> Tensor:
        first = x + (before - x) * weights["mix.x"]
        place = MIXED.index(name)
        down = weights["mix_down.weight"].view(len(MIXED), -1, WIDTH)[place]
        lora = weights[f"mix.{name}"] + (first @ down.T).tanh() @ weights["mix_up"][place]
        return x + (before - x) * lora

    r, k, v, g = (ddlerp(name) @ weights[f"{name}_proj.weight"].T for name in "rkvg")
    d = (ddlerp("w") @ weights["w_lora.down.weight"].T).tanh() @ weights["w_lora.up.weight"].T
    w = torch.exp(-torch.exp(d + weights["w_lora.up.bias"]))
    normed = torch.zeros_like(x)
    for t in range(len(x)):
        for h in range(HEADS):
            part = slice(h * SIZE, (h + 1) * SIZE)
            wkv = torch.outer(weights["bonus"][h] * k[t, part], v[t, part])
            for i in range(t):
                wkv += torch.outer(w[i + 1 : t, part].prod(0) * k[i, part], v[i, part])
            read = r[t, part] @ wkv
            normed[t, part] = (read - read.mean()) / (read.var(unbiased=False) + 1e-5 * SIZE).sqrt()
    normed = normed * weights["norm.weight"] + weights["norm.bias"]
    return (g * g.sigmoid() * normed) @ weights["o_proj.weight"].T


def test_the_mixer_computes_the_papers_equations() -> None:
    made, x = mixer(), torch.randn(2, 9, WIDTH).double()
    with torch.no_grad():
        actual = made(x)
        for row in range(2):
            torch.testing.assert_close(actual[row], paper(made.state_dict(), x[row]), atol=1e-12, rtol=1e-9)


def test_calls_of_any_length_go_on_where_the_last_one_ended() -> None:
    made, x, cache = mixer(), torch.randn(2, 10, WIDTH).double(), LayerCache()
    with torch.no_grad():
        parts = torch.cat([made(part, cache=cache) for part in x.split([1, 4, 1, 3, 1], dim=1)], dim=1)
        torch.testing.assert_close(parts, made(x), atol=1e-12, rtol=1e-10)
