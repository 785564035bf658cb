"""MoM's tokens write to and read from the memories that their router picks, and leave the others alone."""

import pytest
import torch
from torch import Tensor

from tests.zoo.random_mixer import EPS, WIDTH, build, tokens, weights
from tests.zoo.recurrences import rms_normed, sigmoid, silu, softplus
from workbench import kernels
from workbench.errors import InputError
from workbench.memory import DictMemory, NoMemory
from workbench.zoo.cache import LayerCache

HEADS, KEY, VALUE = 2, 3, 6


def unit(x: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).sum() + 1e-6)


@pytest.mark.parametrize("update", ["gated_delta", "linear"])
@pytest.mark.parametrize("shared", [True, False])
@torch.no_grad()
def test_mom_is_the_papers_mixture(update: str, shared: bool) -> None:
    routed, picked = 3, 2
    mixer = build("mom", n_heads=HEADS, memories=routed, top_k=picked, shared=shared, update=update, expand_k=0.5)
    given, x = weights(mixer), tokens()
    memories = routed + shared
    states = torch.zeros(memories, HEADS, KEY, VALUE, dtype=x.dtype)
    rows = []
    for token in x:
        scores = torch.softmax(given["router.weight"] @ token, dim=0)
        best = sorted(range(routed), key=lambda m: -float(scores[m]))[:picked]
        total = sum(scores[m] for m in best)
        share = {m: scores[m] / total for m in best} | ({routed: torch.ones(())} if shared else {})
        query = (given["q_proj.weight"] @ token).view(HEADS, KEY)
        keys = (given["k_proj.weight"] @ token).view(memories, HEADS, KEY)
        values = (given["v_proj.weight"] @ token).view(memories, HEADS, VALUE)
        read = torch.zeros(HEADS, VALUE, dtype=x.dtype)
        for m, weight in share.items():
            for h in range(HEADS):
                k, v, q, at = keys[m, h], values[m, h], query[h], m * HEADS + h
                if update == "linear":
                    states[m, h] += torch.outer(k, v)
                else:
                    k, q = unit(k), unit(q)
                    step = softplus(given["a_proj.weight"][at] @ token + given["dt_bias"][at])
                    states[m, h] *= torch.exp(-torch.exp(given["A_log"][at]) * step)
                    strength = sigmoid(given["b_proj.weight"][at] @ token)
                    states[m, h] += strength * torch.outer(k, v - k @ states[m, h])
                read[h] += weight * (q @ states[m, h]) / KEY**0.5
        gate = silu(given["g_proj.weight"] @ token)
        normed = torch.stack([rms_normed(head, EPS) * given["o_norm"] for head in read]).flatten()
        rows.append(given["o_proj.weight"] @ (normed * gate))
    torch.testing.assert_close(mixer(x[None])[0], torch.stack(rows), atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_a_memory_that_is_not_picked_stays_as_it_is() -> None:
    mixer = build("mom", n_heads=HEADS, memories=3, top_k=1, shared=False)
    x, cache = tokens(), LayerCache()
    mixer(x[None, :-1], cache=cache)
    before = cache["state"].clone()
    mixer(x[None, -1:], cache=cache)
    changed = (cache["state"] - before).abs().amax(dim=(0, 2, 3)).view(3, HEADS).amax(-1)
    read = mixer.read_in(x[None, -1:], None, DictMemory(LayerCache())).form.read
    assert read is not None
    picked = read.view(3, HEADS)[:, 0] > 0
    assert picked.sum() == 1
    assert torch.equal(changed > 0, picked)


@torch.no_grad()
def test_nobody_reads_a_pad() -> None:
    mask = torch.tensor([[0.0] * 2 + [1.0] * 5])[..., None].double()
    dense = kernels.dense(build("mom", memories=3).read_in(tokens()[None, :7], mask, NoMemory()).form)
    assert dense[..., :2].abs().max() == 0.0
    assert dense[..., 2:, 2].abs().max() > 0.0


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(2)
    mixer = build("mom", n_heads=1, memories=3, top_k=2, expand_k=0.25, expand_v=0.25)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    assert torch.autograd.gradcheck(lambda x: mixer(x, attention_mask=mask)[mask], (x,))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"top": 2}, "no option 'top'"), ({"top_k": 5}, "1 to 4"), ({"update": "gla"}, "neither"), ({"n_heads": 5}, "5")],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("mom", **options)
